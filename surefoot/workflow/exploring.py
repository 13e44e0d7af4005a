"""Exploring: what a controller is and what could be required of it, before there is a budget."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import write_file
from surefoot.certify import Analysis, Assumptions, CertifyConfig
from surefoot.certify.exploration import EPSILONS, Exploration, draft_budget, explore
from surefoot.output_path import check_new_file
from surefoot.recordings import StatesFile
from surefoot.runtime.controller_file import load_controller_file
from surefoot.workflow.evidence_files import gather_evidence
from surefoot.workflow.inspecting import Inspection, inspection_of
from surefoot.workflow.listener import SILENCE, Listener


@dataclass(frozen=True, kw_only=True, slots=True)
class ExploredController:
    """What is known of a controller before anything is required.

    Attributes:
        inspection: What it is.
        exploration: What could be required of it.
        draft: A budget to start from, TOML; empty where nothing could be proved.
    """

    inspection: Inspection
    exploration: Exploration
    draft: str


def explore_controller(
    controller: Path,
    *,
    config: CertifyConfig | None = None,
    assumptions: Assumptions | None = None,
    output: str | None = None,
    discrete: bool = False,
    states: StatesFile | None = None,
    draft: Path | None = None,
    listener: Listener = SILENCE,
) -> ExploredController:
    """Say what a controller is, and which limits on its actions could be proved.

    Args:
        controller: A run, a policy folder or an ``.onnx`` file that anybody wrote.
        config: How much effort goes into it.
        assumptions: What claims take for granted.
        output: Which output of a file of others are the actions, if it has several.
        discrete: Whether its outputs are logits, of which the largest is chosen.
        states: States of the user's own, instead of those of the controller's folder.
        draft: Where to write a budget to start from; a file that is not there yet. None is written
            where nothing could be proved.
        listener: Is told of progress, and how the states were read.

    Raises:
        InputError: If a file is not what it should be, or ``draft`` is there already.
        IntegrityError: If a folder does not verify.
        CheckError: If ONNX Runtime computes something else than what was understood.
    """
    if draft is not None:
        check_new_file(draft)
    file = load_controller_file(controller, output, discrete=discrete)
    config = config or CertifyConfig()
    evidence = gather_evidence(
        controller, file, assumptions or Assumptions(), states=states, listener=listener
    )
    inspection = inspection_of(controller, file, config.epsilon)
    with listener.progress("exploring", len(EPSILONS)) as update:
        found = explore(Analysis(file, evidence, config), watch=lambda done: update(done, ""))
    text = draft_budget(found, controller.name)
    if draft is not None and text:
        write_file(draft, text.encode())
    elif draft is not None:
        listener.remark(f"{draft} is not written: no requirement could be proved yet")
    return ExploredController(inspection=inspection, exploration=found, draft=text)
