"""Answering a VNN-LIB file: whether a controller can give outputs that must not occur."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surefoot.artifact import Json
from surefoot.certificate import Verdict
from surefoot.certify import Analysis, CertifyConfig, Evidence
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.planes import share_of
from surefoot.certify.question_search import Growth, answer
from surefoot.certify.questions import proved_violation, region_of, still_open
from surefoot.errors import CheckError
from surefoot.policy import Policy
from surefoot.quantities.base.witness import Witness
from surefoot.question import Question
from surefoot.runtime.controller_file import load_controller_file
from surefoot.vnnlib import read_vnnlib

_UNCOUNTED = 1 << 24
"""Boxes where time is the limit: as many as memory holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to a VNN-LIB file.

    Attributes:
        verdict: PROVED if no input gives such outputs, REFUTED if one does.
        witness: For REFUTED, that input and its outputs on the deployed runtime.
        num_boxes: Number of boxes of which the proofs are made.
        seconds: Time that it took, without reading the controller.
        still_open: For UNKNOWN, what of the region of each open disjunct is open.
    """

    verdict: Verdict
    witness: Witness | None
    num_boxes: int
    seconds: float
    still_open: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The answer as solvers of the competition print it: ``unsat``, ``sat`` or ``unknown``."""
        words = {Verdict.PROVED: "unsat", Verdict.REFUTED: "sat", Verdict.UNKNOWN: "unknown"}
        lines = [words[self.verdict]]
        if self.witness is not None:
            values = {"X": self.witness.observation, "Y": self.witness.action}
            pairs = [
                f"({kind}_{number} {value!r})"
                for kind, numbers in values.items()
                for number, value in enumerate(numbers or ())
            ]
            lines.append(f"({chr(10).join(pairs)})")
        return "\n".join(lines) + "\n"

    def to_table(self) -> dict[str, Json]:
        """Return the answer as JSON values."""
        witness = None if self.witness is None else self.witness.to_table()
        return {
            "answer": self.text.splitlines()[0],
            "verdict": self.verdict.value,
            "witness": witness,
            "boxes": self.num_boxes,
            "seconds": self.seconds,
            "open": [*self.still_open],
        }


def answer_vnnlib(
    controller: Path,
    specification: Path,
    *,
    config: CertifyConfig | None = None,
    seconds: float | None = None,
    output: str | None = None,
) -> Answer:
    """Answer a VNN-LIB file about a controller; inputs and outputs are raw units.

    Args:
        controller: A run, policy folder, bundle or ``.onnx`` file that anybody wrote.
        specification: The VNN-LIB file.
        config: How much effort goes into it.
        seconds: Time limit, under which boxes are not counted; None to count them alone.
        output: Output of a foreign file that is meant, if it has several.

    Raises:
        InputError: If a file is not what it should be, or the two do not fit each other.
        CheckError: If a proof does not prove the answer again, which is a bug.
    """
    known = read_vnnlib(specification)
    file = load_controller_file(controller, output)
    known.check_fits(str(specification), file.policy.obs_dim, file.policy.num_outputs)
    analysis = Analysis(file, Evidence(), config or CertifyConfig())
    start = time.monotonic()
    stop = math.inf if seconds is None else start + seconds
    found = [_answer(analysis, question, stop - time.monotonic()) for question in known.questions]
    verdict = Verdict.worst(verdict for verdict, _ in found)
    grown = [growth for _, growth in found]
    return Answer(
        verdict=verdict,
        witness=next((each.witness for each in grown if each.witness is not None), None),
        num_boxes=sum(each.tree.num_parts for each in grown),
        seconds=time.monotonic() - start,
        still_open=tuple(
            words
            for question, growth in zip(known.questions, grown, strict=True)
            if verdict is Verdict.UNKNOWN and (words := _open(question, file.policy, growth))
        ),
    )


def _open(question: Question, policy: Policy, growth: Growth) -> str:
    """Say what of a question's region is open, empty for none of it."""
    boxes = growth.still_open
    if boxes is None:
        return ""
    low, high = (np.tile(corner, (len(boxes.low), 1)) for corner in region_of(question, policy))
    share = float(share_of((boxes.low, boxes.high), low, high).sum())
    return still_open(share, boxes.low[0], boxes.high[0], policy)


def _answer(analysis: Analysis, question: Question, seconds: float) -> tuple[Verdict, Growth]:
    """Answer one question.

    Raises:
        CheckError: If the tree that was found does not prove the condition again.
    """
    policy, arithmetic = analysis.controller.policy, ARITHMETICS[analysis.config.arithmetic]
    growth = answer(
        question,
        policy,
        arithmetic,
        analysis.replay,
        num_boxes=analysis.config.region_boxes if math.isinf(seconds) else _UNCOUNTED,
        seconds=seconds,
        seed=analysis.config.seed,
    )
    if growth.witness is not None:
        return Verdict.REFUTED, growth
    if not growth.is_decided:
        return Verdict.UNKNOWN, growth
    again = proved_violation(question, policy, arithmetic, growth.tree)
    if again.value > 0:
        raise CheckError(f"the proof gives an excess of {again.value}, which is a bug")
    return Verdict.PROVED, growth
