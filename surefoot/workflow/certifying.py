"""Certifying: a controller held against a budget, and the certificate with its picture."""

from pathlib import Path

import numpy as np

from surefoot.artifact import write_file
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import (
    Analysis,
    Assumptions,
    CertifyConfig,
    certify_analysis,
    deviation_curves,
    draw_deviation,
    num_steps,
)
from surefoot.certify.exploration import EPSILONS
from surefoot.onnx_file import read_beside
from surefoot.output_path import CERTIFICATE, check_result_and_picture
from surefoot.recordings import StatesFile
from surefoot.run_folder import picture_of
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.drawing import write_picture
from surefoot.workflow.evidence_files import attack_beside, gather_evidence, rests_on_own
from surefoot.workflow.listener import SILENCE, Listener


def certify_controller(
    controller: Path,
    budget: Budget,
    out: Path,
    *,
    config: CertifyConfig | None = None,
    assumptions: Assumptions | None = None,
    attack: Path | None = None,
    bench: Path | None = None,
    output: str | None = None,
    discrete: bool = False,
    dense: Path | None = None,
    states: StatesFile | None = None,
    robot: Path | None = None,
    draw: bool = True,
    listener: Listener = SILENCE,
) -> Certificate:
    """Certify a controller and write the certificate, and its picture beside it.

    "Could not prove" is a verdict of the certificate, no error.

    Args:
        controller: A run, policy folder, bundle or ``.onnx`` file that anybody wrote.
        budget: The requirements.
        out: The certificate, a JSON file.
        config: How much effort goes into it.
        assumptions: Assumptions that claims about returns rest on.
        attack: An ``attack.json``; that of the controller's own run if it is not given.
        bench: A ``bench.json``.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        dense: Policy from which the controller was compressed, for ``compression_error``.
        states: States of the user's own, instead of those of the controller's folder.
        robot: Description of the robot in whose words the budget speaks, instead of that of the
            controller's folder.
        draw: Whether a picture is drawn.
        listener: Is told what should be known of a foreign file, how the states were read, whether
            a bundle will hold them, and why there is no picture.

    Raises:
        InputError: If a file is not what it should be, or ``out`` cannot be written.
        IntegrityError: If a folder does not verify.
        CheckError: If a policy that was rebuilt from a foreign file differs from its runtime.
    """
    recorded = None if states is None else states.path
    check_result_and_picture(out, CERTIFICATE, (controller, attack, bench, dense, recorded, robot))
    file = load_controller_file(controller, output, discrete=discrete)
    for note in () if file.origin is None else file.origin.notes:
        listener.remark(note)
    evidence = gather_evidence(
        controller,
        file,
        assumptions or Assumptions(),
        attack=attack or attack_beside(controller),
        bench=bench,
        dense=dense,
        states=states,
        robot=robot,
        gate=budget.gate,
        listener=listener,
    )
    if states is not None and read_beside(controller) and not rests_on_own(controller, evidence):
        listener.remark(
            f"the states of {states.path} are not stored in {controller}: to export with this "
            "certificate, store them by pipeline adopt --states"
        )
    analysis = Analysis(file, evidence, config or CertifyConfig(), budget)
    return certify_analysed(analysis, budget, out, listener, draw=draw)


def certify_analysed(
    analysis: Analysis, budget: Budget, out: Path, listener: Listener, *, draw: bool = True
) -> Certificate:
    """Certify a controller whose evidence is gathered, see :func:`certify_controller`.

    Args:
        analysis: Proofs and searches about the controller.
        budget: The requirements.
        out: The certificate, a JSON file.
        listener: Is told on which sensors epsilon says little, and why there is no picture.
        draw: Whether a picture is drawn.

    Raises:
        InputError: If ``out`` cannot be written.
    """
    check_result_and_picture(out, CERTIFICATE)
    with listener.progress("certifying", num_steps(budget)) as update:
        certificate = certify_analysis(analysis, budget, update)
    write_file(out, certificate.to_json())
    for words in (*certificate.sensor_warnings, *analysis.faint_sensors(budget)):
        listener.remark(f"WARNING: {words}")
    # An older one would be about another certificate.
    picture_of(out).unlink(missing_ok=True)
    if draw and certificate.deviation_linf["best"] is not None:
        near = certificate.deviation_linf["epsilon"]
        visited = certificate.claims.visited_deviation
        curves = deviation_curves(
            analysis,
            np.array(EPSILONS),
            near=near,
            near_visited=None if visited is None else visited.epsilon,
        )
        write_picture(out, lambda: draw_deviation(curves), listener)
    return certificate
