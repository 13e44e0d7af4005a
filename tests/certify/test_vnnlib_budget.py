"""A VNN-LIB file in a budget: its content is in the certificate, and proved again from there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.artifact import Json, to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Squash
from surefoot.workflow.configuration import Configuration

QUICK = CertifyConfig(search_states=4, search_steps=1, lipsdp_iterations=3, lipsdp_per_actuator=0)
HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
BUDGET = '[[require]]\nquantity = "property"\nvnnlib = "sub/avoid.vnnlib"\n'


def avoid(limit: float, *, width: float = 0.2) -> str:
    """Two boxes of inputs, in which the output must stay below a limit."""
    boxes = [
        f"(and (>= X_0 {low}) (<= X_0 {low + width}) (>= X_1 0.0) (<= X_1 {width})"
        f" (>= Y_0 {limit!r}))"
        for low in (-1.0, 0.5)
    ]
    return f"{HEAD}\n(assert (or {' '.join(boxes)}))\n"


def budget_of(folder: Path, text: str) -> Budget:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "avoid.vnnlib").write_text(text)
    (folder / "budget.toml").write_text(BUDGET)
    return Configuration().budget(folder / "budget.toml")


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(2), [2, 8, 8, 1], squash=Squash.TANH))


@pytest.fixture(scope="module", name="worst")
def _worst(file: ControllerFile) -> float:
    """Largest output that an independent search finds in the boxes."""
    shares = np.random.default_rng(0).random((20_000, 2)) * 0.2
    readings = np.concatenate([shares + np.array([low, 0.0]) for low in (-1.0, 0.5)])
    return float(file.policy.outputs_at(file.policy.state(readings)).max())


@pytest.fixture(scope="module", name="certificate")
def _certificate(
    file: ControllerFile, worst: float, tmp_path_factory: pytest.TempPathFactory
) -> Certificate:
    budget = budget_of(tmp_path_factory.mktemp("budget"), avoid(worst + 0.01))
    return certify_policy(file, budget, Evidence(), QUICK)


def test_what_a_file_forbids_is_proved_not_to_occur_without_the_file(
    file: ControllerFile, certificate: Certificate
) -> None:
    assert certificate.findings[0].verdict is Verdict.PROVED
    assert "that nothing occurs that sub/avoid.vnnlib (SHA-256 " in explain(certificate)
    assert certificate.budget.text == BUDGET
    saved = Certificate.parse(certificate.to_json())
    assert check_certificate(saved, file).proved == (0,)


def test_what_occurs_is_refuted_in_whichever_box(
    file: ControllerFile, worst: float, tmp_path: Path
) -> None:
    budget = budget_of(tmp_path, avoid(worst - 0.01))
    certificate = certify_policy(file, budget, Evidence(), QUICK)
    finding = certificate.findings[0]
    assert finding.verdict is Verdict.REFUTED
    assert finding.witness is not None
    assert finding.witness.action is not None
    assert finding.witness.action[0] >= worst - 0.01
    check_certificate(Certificate.parse(certificate.to_json()), file)


def test_a_budget_that_was_kept_says_what_its_file_said(certificate: Certificate) -> None:
    kept = Configuration().with_budget(certificate.budget).budget()
    assert kept.requirements == certificate.budget.requirements


def specification(text: str | None) -> Callable[[dict[str, Json]], None]:
    def change(table: dict[str, Json]) -> None:
        table["requirements"][0]["requirement"]["specification"] = text

    return change


def without(table: dict[str, Json]) -> None:
    del table["requirements"][0]["requirement"]["specification"]


def one_tree(table: dict[str, Json]) -> None:
    table["proof"]["box_trees"][1]["question"] = 2


FORGERIES = {
    "another limit": specification(avoid(0.0)),
    "larger boxes": specification(avoid(9.0, width=0.4)),
    "no file": without,
    "no specification": specification("(assert true)"),
    "of another controller": specification(avoid(9.0).replace("X_1", "X_2")),
    "of a larger controller": specification("(declare-const Y_1 Real)" + avoid(9.0)),
    "a tree of no question": one_tree,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_refused(
    name: str, file: ControllerFile, certificate: Certificate
) -> None:
    table = json.loads(certificate.to_json())
    FORGERIES[name](table)
    with pytest.raises(IntegrityError):
        check_certificate(Certificate.parse(to_json(table)), file)


def test_what_does_not_fit_is_one_line(file: ControllerFile, tmp_path: Path) -> None:
    larger = budget_of(tmp_path, "(declare-const Y_1 Real)" + avoid(1.0))
    with pytest.raises(InputError, match="controller's 2 inputs and 1 outputs, got 2 and 2"):
        certify_policy(file, larger, Evidence(), QUICK)
    with pytest.raises(InputError, match=r"avoid.vnnlib.*, line 1: expected a declaration"):
        budget_of(tmp_path, "(check-sat)")
    (tmp_path / "sub" / "avoid.vnnlib").unlink()
    with pytest.raises(InputError, match=r"avoid.vnnlib"):
        Configuration().budget(tmp_path / "budget.toml")
    with pytest.raises(InputError, match="takes no field 'region' here"):
        Budget.parse(BUDGET + 'region = "recorded"\n')
    with pytest.raises(InputError, match="must be read beside its budget"):
        certify_policy(file, Budget.parse(BUDGET), Evidence(), QUICK)
