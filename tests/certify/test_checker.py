"""The checker accepts what the stage writes and refuses every forgery.

Also of ``certify/differences.py``, ``certify/proved_claims.py``, ``certify/saved_proofs.py``,
``certify/table_check.py`` and ``certify/words_check.py``.
"""

import ast
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import surefoot.certify.checker
from support.policies import build_policy, draw_policy, file_of
from surefoot.artifact import Json, sha256_hex, to_json
from surefoot.ball import Norm
from surefoot.budget import Budget, Scope
from surefoot.certificate import Certificate
from surefoot.certify import Analysis, CertifyConfig, Evidence, Measurement, certify_policy
from surefoot.certify.checker import check_certificate
from surefoot.config import to_toml
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, Squash, weights_sha256
from surefoot.visited import SampledEpisodes

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

[[require]]
quantity = "success_rate"
epsilon = 0.05
norm = "linf"
confidence = 0.95
at_least = 0.5
"""
OBSERVATIONS = np.random.default_rng(0).normal(0, 1, (60, 4))
STEPS = np.random.default_rng(1).choice(20, size=50, p=np.arange(20, 0, -1) / 210)
SAMPLED = SampledEpisodes(
    observations=np.random.default_rng(2).normal(0, 1, (50, 4)),
    steps=STEPS,
    alive=STEPS < 15,
    returns=np.full(50, 15.0),
    horizon=20,
)
CONFIG = CertifyConfig(
    search_states=32, search_steps=6, lipsdp_iterations=10, lipsdp_per_actuator=3
)


def certify(file: ControllerFile) -> Certificate:
    measured = Measurement(
        quantity="success_rate",
        value=0.8,
        episodes=100,
        onnx_sha256=sha256_hex(file.data),
        epsilon=0.05,
        norm=Norm.LINF,
        source="mad",
    )
    evidence = Evidence(
        observations=OBSERVATIONS,
        sampled=SAMPLED,
        reward_range=(0.0, 1.0),
        discount=0.9,
        horizon=20,
        measurements=(measured,),
    )
    return certify_policy(file, Budget.parse(BUDGET), evidence, CONFIG)


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    rng = np.random.default_rng(1)
    return file_of(draw_policy(rng, [4, 12, 12, 2], sparsity=0.3, squash=Squash.CLIP))


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    return certify(file)


def test_what_the_stage_writes_is_accepted(file: ControllerFile, certificate: Certificate) -> None:
    read = Certificate.parse(certificate.to_json())
    report = check_certificate(read, file, observations=OBSERVATIONS, sampled=SAMPLED)
    assert len(report.proved) == 6
    assert report.unchecked == ()


def test_a_certificate_of_constants_alone_is_accepted(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions wrote it that weighed no sensors."""
    monkeypatch.setattr(Analysis, "_boxes", [])
    budget = Budget.parse("[[require]]" + BUDGET.split("[[require]]")[1])
    certificate = certify_policy(file, budget, Evidence(), CONFIG)
    assert {"squared"} == {
        key
        for entry in certificate.proof["multipliers"]
        for key in entry.keys() & {"squared", "metric"}
    }
    assert check_certificate(Certificate.parse(certificate.to_json()), file).proved == (0,)


def test_without_observations_the_visited_claims_stay_unchecked(
    file: ControllerFile, certificate: Certificate
) -> None:
    report = check_certificate(certificate, file)
    assert len(report.unchecked) == 1
    assert certificate.findings[report.unchecked[0]].requirement.scope is Scope.VISITED


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("hidden", [[], [6], [6, 6, 6]])
def test_certificates_of_every_activation_and_depth_are_accepted(
    activation: Activation, hidden: list[int]
) -> None:
    file = file_of(draw_policy(np.random.default_rng(2), [4, *hidden, 2], activation))
    assert check_certificate(certify(file), file, observations=OBSERVATIONS).proved


def forge(certificate: Certificate, change: Callable[[dict], None]) -> Certificate:
    """A certificate that was changed by someone who knows how certificates are written."""
    table: dict[str, Any] = json.loads(certificate.to_json())
    change(table)
    return Certificate.parse(to_json(table))


def test_an_honest_copy_is_accepted(file: ControllerFile, certificate: Certificate) -> None:
    copy = forge(certificate, lambda table: None)
    assert check_certificate(copy, file, observations=OBSERVATIONS, sampled=SAMPLED).proved


def require(table: dict, number: int, **fields: object) -> None:
    """Change a requirement in every place where a certificate tells it."""
    table["requirements"][number]["requirement"] |= fields
    for entry in table["requirements"]:
        said = entry["requirement"]
        entry["requirement"] = {key: value for key, value in said.items() if value is not None}
    kept = [entry["requirement"] for entry in table["requirements"]]
    table["budget_toml"] = to_toml({"require": kept})
    table["budget_sha256"] = sha256_hex(table["budget_toml"].encode())


def flip_weight_digest(table: dict) -> None:
    digest = table["weights_sha256"]
    table["weights_sha256"] = digest[:-1] + ("0" if digest[-1] != "0" else "1")


def widen_scope(table: dict) -> None:
    require(table, 2, scope="everywhere", fraction=None, confidence=None)
    table["requirements"][2]["statistical"] = False


def lower_limit(table: dict) -> None:
    require(table, 0, at_most=0.15)
    table["requirements"][0]["certified"] = 0.1


def claim_more(table: dict) -> None:
    table["claims"]["closed_loop"] = {"stays_up": True}


def measure_better(table: dict) -> None:
    for entry in table["proof"]["evidence"]["measurements"]:
        entry["value"] = 1.0


def halve(table: dict, *path: str | int) -> None:
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] *= 0.5


def double(table: dict, *path: str | int) -> None:
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] *= 2


def flip_multiplier(table: dict) -> None:
    layers = table["proof"]["multipliers"][1]["multipliers"]
    layers[0] = "00004040" + layers[0][8:]


def weaken_squared(table: dict) -> None:
    entry = table["proof"]["multipliers"][1]
    entry["squared"] = float.hex(float.fromhex(entry["squared"]) * 0.9)


def weigh(change: Callable[[np.ndarray], object]) -> Callable[[dict], None]:
    """Other weights of the sensors, in every proof that has some."""

    def forge_weights(table: dict) -> None:
        for entry in table["proof"]["multipliers"]:
            if "metric" in entry:
                weights = np.frombuffer(bytes.fromhex(entry["metric"]))
                entry["metric"] = np.asarray(change(weights), np.float64).tobytes().hex()

    return forge_weights


def weigh_twice(table: dict) -> None:
    entry = next(p for p in table["proof"]["multipliers"] if "metric" in p)
    entry["squared"] = float.hex(1e-3)


def prove_the_refuted(table: dict) -> None:
    table["requirements"][1] |= {"verdict": "PROVED", "certified": 0.0005, "witness": None}
    table["requirements"][1]["sampled"] = 0.0004
    table["verdict"] = "PROVED"


def hide_the_proved(table: dict) -> None:
    table["requirements"][0]["verdict"] = "UNKNOWN"


def move_witness(table: dict) -> None:
    witness = table["requirements"][1]["witness"]
    witness["perturbation"] = [0.0] * len(witness["perturbation"])


def stretch_witness(table: dict) -> None:
    witness = table["requirements"][1]["witness"]
    witness["perturbation"] = [2 * value for value in witness["perturbation"]]


def spread_to_all(table: dict) -> None:
    """One output's proof, as an index that means all of them, and the numbers that follow."""
    proof = next(p for p in table["proof"]["multipliers"] if p["output"] == 1)
    proof["output"] = True


def hide_behind_a_method(table: dict) -> None:
    """A number that nothing proves, under the name of a bound that rests on episodes."""
    table["requirements"][0] |= {"certified": 1e-9, "sampled": None, "method": "path of episodes"}


def witness_of(**fields: Json) -> Callable[[dict], None]:
    return lambda table: table["requirements"][1]["witness"].update(fields)


FORGERIES: dict[str, Callable[[dict], None]] = {
    "a multiplier": flip_multiplier,
    "the proved constant": weaken_squared,
    "weights of the sensors a millionth too small": weigh(lambda d: d * (1 - 1e-6)),
    "a weight of one sensor a millionth too small": (
        weigh(lambda d: np.append(d[0] * (1 - 1e-6), d[1:]))
    ),
    "a negative weight of a sensor": weigh(lambda d: np.append(-d[0], d[1:])),
    "a sensor without a weight": weigh(lambda d: np.append(0.0, d[1:])),
    "a weight that is no number": weigh(lambda d: np.append(np.nan, d[1:])),
    "an infinite weight": weigh(lambda d: np.append(np.inf, d[1:])),
    "a weight too few": weigh(lambda d: d[1:]),
    "a weight too many": weigh(lambda d: np.append(d, d[0])),
    "one weight for all sensors": weigh(lambda d: d.max()),
    "no weights": weigh(lambda d: []),
    "a metric that is a constant as well": weigh_twice,
    "weights that are no text": lambda t: t["proof"]["multipliers"][-1].update(metric=1.0),
    "weights that are no hexadecimal": lambda t: t["proof"]["multipliers"][-1].update(metric="x"),
    "half a weight": lambda t: t["proof"]["multipliers"][-1].update(metric="00"),
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
    "half precision": lambda t: t.update(arithmetic="float16"),
    "a larger epsilon": lambda t: require(t, 0, epsilon=0.1),
    "a larger epsilon of a distance": lambda t: require(t, 3, epsilon=0.01),
    "a larger epsilon at visited states": lambda t: require(t, 2, epsilon=0.1),
    "the epsilon of the table": lambda t: t["deviation_linf"].update(epsilon=0.1),
    "the epsilon of the visited states": (
        lambda t: t["claims"]["visited_deviation"].update(epsilon=0.1)
    ),
    "the norm": lambda t: require(t, 3, norm="linf"),
    "the scope": widen_scope,
    "the fraction": lambda t: require(t, 2, fraction=0.94),
    "the confidence": lambda t: require(t, 2, confidence=0.999),
    "another quantity": lambda t: require(t, 3, quantity="kl"),
    "a lower limit": lower_limit,
    "a digit of the weights' digest": flip_weight_digest,
    "a bound beyond the proofs": lambda t: t["lipschitz_l2"].update(best_of_all=0.001),
    "a measured success rate": measure_better,
    "a limit of a success rate": lambda t: t["requirements"][5].update(sampled=0.95),
    "the average bound": lambda t: halve(t, "claims", "value", "average", "bound"),
    "a certified radius": lambda t: double(t, "claims", "visited_radius", "certified", 0),
    "the path bound": lambda t: halve(t, "claims", "value", "path", "bound"),
    "a raw unit": lambda t: double(t, "claims", "sensors", "scale", 0),
    "a sensor that never moved": lambda t: t["claims"]["sensors"].update(degenerate=[1]),
    "a return under attack": lambda t: t["claims"]["value"]["attacked_return"].update(bound=9.0),
    "what was assumed of rewards": (
        lambda t: t["proof"]["evidence"].update(reward_range=[0.0, 0.1])
    ),
    "the episodes' digest": lambda t: t["proof"]["evidence"].update(sampled_sha256="0"),
    "the effort": lambda t: t["proof"].update(split_boxes=0, alpha_steps=7),
    "a theorem": lambda t: halve(
        t, "claims", "paper", "theorems", "theorem_1", "replaced_by", "bound"
    ),
    "an output that is all of them": spread_to_all,
    "an output that is no number": lambda t: t["proof"]["multipliers"][1].update(output="x"),
    "a negative output": lambda t: t["proof"]["multipliers"][1].update(output=-1),
    "a bound behind a method": hide_behind_a_method,
    "no state of the witness": lambda t: t["requirements"][1]["witness"].pop("state"),
    "a short witness": witness_of(perturbation=[0.1]),
    "an effort that is no number": lambda t: t["proof"].update(alpha_steps=[]),
    "a negative effort": lambda t: t["proof"].update(split_boxes=-1),
    "an epsilon that is no size": lambda t: t["deviation_linf"].update(epsilon=10**390),
    "episodes out of range": (
        lambda t: t["proof"]["evidence"]["measurements"][0].update(episodes=10**390)
    ),
    "a horizon beyond any": lambda t: t["proof"]["evidence"].update(horizon=2**63),
    "an unknown arithmetic": lambda t: t.update(arithmetic="exact"),
    "the file's digest": lambda t: t.update(onnx_sha256="0" * 64),
    "the weights' digest": lambda t: t.update(weights_sha256="0" * 64),
    "the observations' digest": lambda t: t["proof"]["evidence"].update(observations_sha256="0"),
    "the discount": lambda t: t["proof"]["evidence"].update(discount=0.1),
    "missing multipliers": lambda t: t["proof"].update(multipliers=[]),
    "missing evidence": lambda t: t["proof"].pop("evidence"),
    "malformed multipliers": lambda t: t["proof"]["multipliers"][0].update(squared="x"),
}


MALFORMED: dict[str, Callable[[dict], None]] = {
    "a null in the witness": witness_of(state=None),
    "words in the witness": witness_of(perturbation=["x"] * 4),
    "a witness out of range": witness_of(state=[10**390] * 4),
    "a witness with more to say": witness_of(believe="me"),
    "a claim beyond the proofs": claim_more,
    "a table that is none": lambda t: t["claims"].update(visited_deviation=[1]),
    "an epsilon below 0": lambda t: t["claims"]["visited_deviation"].update(epsilon=-1.0),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_certificate_is_not_even_read(certificate: Certificate, name: str) -> None:
    with pytest.raises(IntegrityError):
        forge(certificate, MALFORMED[name])


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_certificate_is_refused(
    file: ControllerFile, certificate: Certificate, name: str
) -> None:
    forged = forge(certificate, FORGERIES[name])  # is read: it contradicts nothing in itself
    with pytest.raises(IntegrityError):
        check_certificate(forged, file, observations=OBSERVATIONS, sampled=SAMPLED)


@pytest.mark.parametrize("sampled", [None, SAMPLED])
def test_no_method_keeps_a_proved_claim_from_the_checker(
    file: ControllerFile, certificate: Certificate, sampled: SampledEpisodes | None
) -> None:
    forged = forge(certificate, hide_behind_a_method)
    with pytest.raises(IntegrityError, match="action_deviation"):
        check_certificate(forged, file, sampled=sampled)


def test_a_proof_of_one_output_is_none_of_the_others() -> None:
    file = file_of(build_policy([np.eye(3), [[100, 0, 0], [0, 0.01, 0]]]))
    config = replace(CONFIG, lipsdp_per_actuator=3)
    limit = BUDGET.split("[[require]]")[1].replace("5.0", "0.01")
    budget = Budget.parse("[[require]]" + limit)
    table = json.loads(certify_policy(file, budget, Evidence(), config).to_json())
    spread_to_all(table)
    with pytest.raises(IntegrityError, match="output must be a number"):
        check_certificate(Certificate.parse(to_json(table)), file)


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
    seen, waiting = set(), ["surefoot.certify.checker"]
    while waiting:
        name = waiting.pop()
        if name in seen or not name.startswith(("surefoot.certify.", "surefoot.quantities.")):
            continue
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a name inside of a module
            continue
        if spec is None or spec.origin is None:
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert {"surefoot.certify.bounds.crown", "surefoot.quantities.base.quantity"} <= seen
    # Short enough that a person reads it before trusting it.
    assert len(Path(surefoot.certify.checker.__file__).read_text().splitlines()) < 150
    unwanted = ("analysis", "bounds.lipsdp", "certifier", "counterexamples", "searches")
    assert seen.isdisjoint(f"surefoot.certify.{name}" for name in unwanted)


def test_a_claim_about_visited_states_that_names_none_is_refused(
    file: ControllerFile, certificate: Certificate
) -> None:
    """Evidence that a checker lacks leaves a claim unchecked; evidence that nobody had does not."""

    def forget(table: dict) -> None:
        table["proof"]["evidence"] |= {"observations_sha256": None, "num_observations": 0}
        for name in ("visited_deviation", "visited_radius"):
            del table["claims"][name]

    forged = forge(certificate, forget)
    with pytest.raises(IntegrityError, match="at 90% of visited states"):
        check_certificate(forged, file)


def test_a_contradicted_assumption_is_not_held_against_an_honest_certificate(
    file: ControllerFile,
) -> None:
    budget = Budget.parse(
        '[[require]]\nquantity = "return_loss"\nepsilon = 0.001\nnorm = "linf"\nat_most = 1e9\n'
    )
    evidence = Evidence(sampled=SAMPLED, reward_range=(0.0, 0.5), horizon=20)  # returns are 15
    honest = certify_policy(file, budget, evidence, CONFIG)
    assert honest.findings[0].certified is None
    assert check_certificate(honest, file, sampled=SAMPLED).unchecked == ()
    assert check_certificate(honest, file).unchecked == (0,)


def test_an_older_certificate_that_says_nothing_of_its_sensors_is_accepted(
    file: ControllerFile, certificate: Certificate
) -> None:
    older = forge(certificate, lambda table: table["claims"].pop("sensors"))
    report = check_certificate(older, file, observations=OBSERVATIONS, sampled=SAMPLED)
    assert len(report.proved) == 6
