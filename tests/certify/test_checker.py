"""The checker accepts what the stage writes and refuses every forgery."""

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import surefoot.certify.checker
from surefoot.artifact import sha256_hex
from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.checker import check_certificate
from surefoot.errors import IntegrityError
from surefoot.onnx_format import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, Policy, Squash, weights_sha256

Build = Callable[..., Policy]

BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 5.0

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.001

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = 5.0

[[require]]
quantity = "total_variation"
epsilon = 0.001
norm = "l2"
scope = "everywhere"
at_most = 0.9

[[require]]
quantity = "sparsity"
at_least = 0.2
"""
OBSERVATIONS = np.random.default_rng(0).normal(0, 1, (60, 4))
CONFIG = CertifyConfig(
    search_states=32, search_steps=6, lipsdp_iterations=10, lipsdp_per_actuator=3
)


def certify(file: ControllerFile) -> Certificate:
    evidence = Evidence(observations=OBSERVATIONS, reward_range=(0.0, 1.0), discount=0.9)
    return certify_policy(file, Budget.parse(BUDGET), evidence, CONFIG)


@pytest.fixture(scope="module", name="file")
def _file(draw_policy: Build, controller: Callable[[Policy], ControllerFile]) -> ControllerFile:
    rng = np.random.default_rng(1)
    return controller(draw_policy(rng, [4, 12, 12, 2], sparsity=0.3, squash=Squash.CLIP))


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    return certify(file)


def test_what_the_stage_writes_is_accepted(file: ControllerFile, certificate: Certificate) -> None:
    read = Certificate.parse(certificate.to_json())
    report = check_certificate(read, file, observations=OBSERVATIONS)
    assert len(report.proved) == 5
    assert report.unchecked == ()


def test_without_observations_the_visited_claims_stay_unchecked(
    file: ControllerFile, certificate: Certificate
) -> None:
    report = check_certificate(certificate, file)
    assert len(report.unchecked) == 1
    assert "visited" in report.unchecked[0]


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("hidden", [[], [6], [6, 6, 6]])
def test_certificates_of_every_activation_and_depth_are_accepted(
    draw_policy: Build,
    controller: Callable[[Policy], ControllerFile],
    activation: Activation,
    hidden: list[int],
) -> None:
    file = controller(draw_policy(np.random.default_rng(2), [4, *hidden, 2], activation))
    assert check_certificate(certify(file), file, observations=OBSERVATIONS).proved


def forge(certificate: Certificate, change: Callable[[dict], None]) -> Certificate:
    table: dict[str, Any] = json.loads(certificate.to_json())
    change(table)
    return Certificate.parse(json.dumps(table).encode())


def halve(table: dict, *path: Any) -> None:
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] *= 0.5


def flip_multiplier(table: dict) -> None:
    layers = table["proof"]["multipliers"][1]["multipliers"]
    layers[0] = "00004040" + layers[0][8:]


def weaken_squared(table: dict) -> None:
    entry = table["proof"]["multipliers"][1]
    entry["squared"] = float.hex(float.fromhex(entry["squared"]) * 0.9)


def prove_the_refuted(table: dict) -> None:
    table["requirements"][1] |= {"verdict": "PROVED", "certified": 0.0005, "witness": None}
    table["verdict"] = "PROVED"


def hide_the_proved(table: dict) -> None:
    table["requirements"][0]["verdict"] = "UNKNOWN"


def move_witness(table: dict) -> None:
    witness = table["requirements"][1]["witness"]
    witness["perturbation"] = [0.0] * len(witness["perturbation"])


def stretch_witness(table: dict) -> None:
    witness = table["requirements"][1]["witness"]
    witness["perturbation"] = [2 * value for value in witness["perturbation"]]


FORGERIES: dict[str, Callable[[dict], None]] = {
    "a multiplier": flip_multiplier,
    "the proved constant": weaken_squared,
    "the best Lipschitz bound": lambda t: halve(t, "lipschitz_l2", "best"),
    "a Lipschitz bound": lambda t: halve(t, "lipschitz_l2", "lipsdp"),
    "a deviation": lambda t: halve(t, "deviation_linf", "best"),
    "the rounding term": lambda t: halve(t, "runtime_error", 0),
    "a claim": lambda t: halve(t, "claims", "per_sensor", "bounds", 0, 0),
    "a value bound": lambda t: halve(t, "claims", "value", "coupling", "bound"),
    "a certified number": lambda t: halve(t, "requirements", 0, "certified"),
    "a visited number": lambda t: halve(t, "requirements", 2, "certified"),
    "a distance": lambda t: halve(t, "requirements", 3, "certified"),
    "a measured number": lambda t: t["requirements"][4].update(sampled=0.9),
    "a refuted verdict": prove_the_refuted,
    "a proved verdict": hide_the_proved,
    "an idle witness": move_witness,
    "a witness that is too large": stretch_witness,
    "the arithmetic": lambda t: t.update(arithmetic="tf32"),
    "an unknown arithmetic": lambda t: t.update(arithmetic="exact"),
    "the file's digest": lambda t: t.update(onnx_sha256="0" * 64),
    "the weights' digest": lambda t: t.update(weights_sha256="0" * 64),
    "the observations' digest": lambda t: t["proof"]["evidence"].update(observations_sha256="0"),
    "the discount": lambda t: t["proof"]["evidence"].update(discount=0.1),
    "missing multipliers": lambda t: t["proof"].update(multipliers=[]),
    "missing evidence": lambda t: t["proof"].pop("evidence"),
    "malformed multipliers": lambda t: t["proof"]["multipliers"][0].update(squared="x"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_certificate_is_refused(
    file: ControllerFile, certificate: Certificate, name: str
) -> None:
    with pytest.raises(IntegrityError):
        check_certificate(forge(certificate, FORGERIES[name]), file, observations=OBSERVATIONS)


def test_a_file_with_one_other_weight_is_refused(
    file: ControllerFile, certificate: Certificate
) -> None:
    first = file.policy.layers[0]
    weight = first.weight.copy()
    weight[0, 0] += 1
    layers = (replace(first, weight=weight), *file.policy.layers[1:])
    other = policy_from_onnx(policy_to_onnx(replace(file.policy, layers=layers)))
    with pytest.raises(IntegrityError, match="is about"):
        check_certificate(certificate, other)
    # Even with the digests forged the multipliers do not prove it.
    forged = replace(
        certificate,
        weights_sha256=certificate_digests(other)[0],
        onnx_sha256=certificate_digests(other)[1],
    )
    with pytest.raises(IntegrityError, match="do not prove"):
        check_certificate(forged, other)


def certificate_digests(file: ControllerFile) -> tuple[str, str]:
    return weights_sha256(file.policy), sha256_hex(file.data)


def test_the_checker_reaches_no_optimiser_and_no_search() -> None:
    folder = Path(surefoot.certify.checker.__file__).parent
    seen, waiting = set(), ["surefoot.certify.checker"]
    while waiting:
        name = waiting.pop()
        path = folder / f"{name.removeprefix('surefoot.certify.')}.py"
        if name in seen or not name.startswith("surefoot.certify.") or not path.is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert len(seen) > 10
    assert seen.isdisjoint(f"surefoot.certify.{name}" for name in ("lipsdp", "search", "facts"))
