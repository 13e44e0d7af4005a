"""The page of mathematics names what exists, and leaves out nothing that a certificate can say."""

import ast
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.policies import random_policy
from surefoot.artifact import Json, sha256_hex
from surefoot.ball import Norm
from surefoot.budget import QUANTITIES, Budget, Scope
from surefoot.certificate import BOUNDS, Certificate
from surefoot.certify import CertifyConfig, Evidence, Measurement, certify_policy
from surefoot.certify.gate_thresholds import make_gate
from surefoot.gate import GateFile
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, Policy, Squash
from surefoot.visited import SampledEpisodes

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explanation" / "mathematics.md").read_text(encoding="utf-8")
METHODS = PAGE.partition("## 12. ")[2]
QUICK = CertifyConfig(
    search_states=8,
    search_steps=1,
    search_restarts=0,
    lipsdp_iterations=3,
    lipsdp_per_actuator=9,
    region_boxes=4,
)
HORIZON = 20
PROPERTIES = """
[[require]]
quantity = "property"
region = "recorded"
all_of = ["action[0] <= 1000"]

[[require]]  # true, but no finite number of boxes proves it
quantity = "property"
region = { kind = "normalised", low = [-1.0, -1.0, -1.0], high = [1.0, 1.0, 1.0] }
any_of = ["action[0] <= 0.1", "action[0] >= 0.1"]
"""

GATE = """
[gate]
low = [-0.1]
high = [0.1]
"""


def resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_function_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(surefoot\.[\w.]+)`", PAGE))
    assert [name for name in sorted(named) if not resolves(name)] == []
    assert len(named) > 50


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert [pair for pair in sorted(named) if pair[1] not in functions_of(pair[0])] == []
    assert len(named) > 50


def entries() -> dict[str, str]:
    """Text of each entry by its heading."""
    parts = re.split(r"^#{2,3} (.*)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    "heading", [name for name, text in entries().items() if "**Statement.**" in text]
)
def test_every_theorem_has_a_proof_or_a_source_a_function_and_a_test(heading: str) -> None:
    text = entries()[heading]
    assert re.search(r"\*\*(Proof|Source)\.\*\*", text)
    assert "`surefoot." in text.partition("Computed by")[2]
    assert "`tests/" in text.partition("Tried by")[2]


def test_no_two_entries_have_one_number() -> None:
    numbers = re.findall(r"^#{2,3} ([\d.]+) ", PAGE, flags=re.MULTILINE)
    assert len(set(numbers)) == len(numbers) > 50


def test_every_link_inside_the_page_leads_to_a_heading() -> None:
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in entries()}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors


def test_every_entry_that_code_and_tests_refer_to_exists() -> None:
    numbers = {heading.split()[0] for heading in entries()}
    for folder in ("surefoot", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = " ".join(path.read_text(encoding="utf-8").split())
            for place in re.findall(r"mathematics\.md, ((?:\d+\.\d+(?:, | and | to )?)+)", text):
                assert set(re.findall(r"\d+\.\d+", place)) <= numbers, path


@pytest.mark.parametrize("bound", [*BOUNDS, "action_range"])
def test_every_global_bound_has_an_entry(bound: str) -> None:
    assert any(f"`{bound}`" in text for text in (*entries(), *entries().values()))
    assert f"`{bound}`" in METHODS


def requirements() -> str:
    """Every quantity in every scope, with every field that it takes."""
    lines = []
    for name, quantity in QUANTITIES.items():
        if name == "property":  # below: its fields are no numbers
            continue
        scoped = "scope" in quantity.needs
        for scope in Scope if scoped else (None,):
            known = {"epsilon": 0.01, "norm": "linf", "confidence": 0.9}
            wanted = (quantity.needs | quantity.takes) & known.keys()
            fields: dict[str, Json] = {"quantity": name} | {key: known[key] for key in wanted}
            fields |= {"scope": scope} if scoped else {}
            fields |= {"fraction": 0.5, "confidence": 0.9} if scope == "visited" else {}
            fields["at_most" if quantity.at_most else "at_least"] = 0.5
            lines += ["[[require]]", *(f"{key} = {json.dumps(fields[key])}" for key in fields)]
    return "\n".join(lines) + "\n" + PROPERTIES + GATE


def gate_of(file: ControllerFile) -> GateFile:
    rule = Budget.parse(requirements()).gate
    assert rule is not None
    return make_gate(file.policy, None, rule)


def evidence_about(file: ControllerFile, dense: Policy, *, discounted: bool) -> Evidence:
    """Visited states, clean episodes and measurements, all made up."""
    rng = np.random.default_rng(1)
    observations = rng.normal(0, 1, (60, file.policy.obs_dim))
    sampled = SampledEpisodes(
        observations=observations,
        steps=rng.integers(0, HORIZON, 60),
        alive=np.ones(60, dtype=bool),
        returns=rng.uniform(0, HORIZON, 60),
        horizon=HORIZON,
    )
    common = {"onnx_sha256": sha256_hex(file.data), "epsilon": 0.01, "norm": Norm.LINF}
    returns = tuple(float(value) for value in sampled.returns)
    return Evidence(
        observations=observations,
        recorded=observations,
        dense_policy=dense,
        sampled=sampled,
        reward_range=(0.0, 1.0),
        discount=0.9 if discounted else None,
        horizon=HORIZON,
        gate=gate_of(file),
        measurements=(
            Measurement(quantity="success_rate", value=0.9, episodes=50, **common),
            Measurement(
                quantity="attacked_return", value=float(np.mean(returns)), returns=returns, **common
            ),
            Measurement(quantity="latency_us", value=9.0, onnx_sha256=common["onnx_sha256"]),
        ),
    )


def methods_of(table: Json) -> Iterator[str]:
    """Every value under a key `method`, and every name of a bound."""
    if isinstance(table, dict):
        for key, value in table.items():
            if key == "method" and isinstance(value, str):
                yield value
            elif key == "bounds" and isinstance(value, dict):
                yield from value
            yield from methods_of(value)
    elif isinstance(table, list):
        for value in table:
            yield from methods_of(value)


def certificates() -> Iterator[Certificate]:
    """Small certificates of both heads, with and without what changes the method of a claim."""
    budget = Budget.parse(requirements())
    cases = (
        (0, Squash.TANH, QUICK, True),
        (0, Squash.TANH, QUICK, False),
        (1, Squash.IDENTITY, replace(QUICK, alpha_steps=1), False),
        (3, None, QUICK, True),
        (11, None, QUICK, False),
    )
    for seed, squash, config, discounted in cases:
        policy = random_policy(np.random.default_rng(seed), (3, 6, 5, 3), Activation.RELU, squash)
        file, dense = (policy_from_onnx(policy_to_onnx(policy)) for _ in range(2))
        given = evidence_about(file, dense.policy, discounted=discounted)
        yield certify_policy(file, budget, given, config)
    yield certify_policy(file, budget, Evidence(gate=gate_of(file)), QUICK)


def test_the_last_table_explains_every_method_of_a_certificate_and_no_other() -> None:
    cells = re.findall(r"^\| (`.*?) \|", METHODS, flags=re.MULTILINE)
    names = re.findall(r"`([^`]+)`", " ".join(cells))
    patterns = {name: re.escape(name).replace(re.escape("..."), ".+") for name in names}
    found = {
        method
        for certificate in certificates()
        for method in methods_of(json.loads(certificate.to_json()))
    }
    explained = {
        method: [name for name, pattern in patterns.items() if re.fullmatch(pattern, method)]
        for method in found
    }
    assert [method for method, by in sorted(explained.items()) if not by] == []
    assert set(names) - {name for by in explained.values() for name in by} == set()
