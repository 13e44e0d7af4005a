"""The stage function: verdicts follow from bounds and witnesses, and say why.

Also of ``certify/at_states.py``, ``certify/evidence.py``, ``certify/everywhere.py``,
``certify/measurements.py``, ``certify/proofs.py``, ``certify/searches.py``, ``certify/verdict.py``
and ``unknown.py``.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.artifact import sha256_hex
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget, Requirement
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import (
    CertifyConfig,
    Episodes,
    Evidence,
    Measurement,
    certify_policy,
    check_certificate,
    explain,
    measurements_of,
)
from surefoot.certify.verdict import conclude
from surefoot.config import build
from surefoot.errors import CheckError, InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Squash
from surefoot.quantities.base.proof import Bound
from surefoot.quantities.base.search import Found
from surefoot.quantities.base.witness import Witness
from surefoot.visited import SampledEpisodes

QUICK = CertifyConfig(search_states=32, search_steps=6, lipsdp_iterations=10, lipsdp_per_actuator=3)


def requirement(quantity: str, **fields: object) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["[[require]]", f'quantity = "{quantity}"', *lines, ""])


def everywhere(quantity: str, limit: float, epsilon: float = 0.05, norm: str = "linf") -> str:
    return requirement(quantity, epsilon=epsilon, norm=norm, scope="everywhere", at_most=limit)


def visited(quantity: str, limit: float, fraction: float = 0.9) -> str:
    return requirement(
        quantity,
        epsilon=0.05,
        norm="linf",
        scope="visited",
        fraction=fraction,
        confidence=0.95,
        at_most=limit,
    )


def certify(
    file: ControllerFile, budget: str, evidence: Evidence | None = None, **config: object
) -> Certificate:
    return certify_policy(
        file, Budget.parse(budget), evidence or Evidence(), replace(QUICK, **config)
    )


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(draw_policy(np.random.default_rng(0), [4, 16, 16, 2], squash=Squash.CLIP))


@pytest.fixture(scope="module", name="evidence")
def _evidence() -> Evidence:
    observations = np.random.default_rng(1).normal(0, 1, (80, 4))
    return Evidence(observations=observations, reward_range=(-1.0, 2.0), discount=0.9)


@pytest.mark.parametrize("quantity", ["action_deviation", "total_variation", "kl"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_limit_above_the_bound_is_proved_and_one_below_the_search_is_refuted(
    file: ControllerFile, quantity: str, norm: str
) -> None:
    first = certify(file, everywhere(quantity, 1e9, norm=norm)).findings[0]
    assert first.verdict is Verdict.PROVED
    assert 0 < first.sampled <= first.certified
    middle = certify(
        file, everywhere(quantity, (first.sampled + first.certified) / 2, norm=norm)
    ).findings[0]
    assert middle.verdict is Verdict.UNKNOWN
    assert "does not meet the limit" in middle.reason
    assert "no violation was found" in middle.reason
    low = certify(file, everywhere(quantity, first.sampled / 2, norm=norm)).findings[0]
    assert low.verdict is Verdict.REFUTED
    assert low.witness is not None


@pytest.mark.parametrize("scope", ["everywhere", "visited"])
def test_the_witness_of_a_refutation_violates_it_when_replayed(
    file: ControllerFile, evidence: Evidence, scope: str
) -> None:
    normaliser = replace(
        file.policy.normaliser,
        mean=np.float32([1.1, -2.3, 0.7, 30.1]),
        scale=np.float32([0.3, 1.7, 0.013, 9.9]),
    )
    file = file_of(replace(file.policy, normaliser=normaliser))
    observations = evidence.observations * normaliser.scale + normaliser.mean
    budget = (everywhere if scope == "everywhere" else visited)("action_deviation", 0.01)
    finding = certify(file, budget, Evidence(observations=observations)).findings[0]
    witness = finding.witness
    observation = np.array([witness.observation], dtype=np.float32)
    state = file.policy.state(observation, np.float32)
    np.testing.assert_array_equal(state[0], np.float32(witness.state))
    step = np.array([witness.perturbation])
    assert np.abs(step).max() <= 0.05
    pair = file.policy.outputs_at(np.concatenate([state, (state + step).astype(np.float32)]))
    assert np.abs(pair[1] - pair[0]).max() > 0.01
    assert witness.deviation == pytest.approx(np.abs(pair[1] - pair[0]).max(), abs=1e-5)


def test_lipschitz_is_proved_refuted_and_unknown(file: ControllerFile) -> None:
    def found(limit: float) -> Verdict:
        return certify(file, requirement("lipschitz", norm="l2", at_most=limit)).findings[0]

    first = found(1e9)
    assert first.verdict is Verdict.PROVED
    assert 0 < first.sampled <= first.certified
    assert found(first.sampled / 3).verdict is Verdict.REFUTED
    assert found(first.sampled * 1.01).verdict in (Verdict.UNKNOWN, Verdict.PROVED)
    linf = certify(file, requirement("lipschitz", norm="linf", at_most=1e9)).findings[0]
    assert first.certified <= linf.certified <= 2 * first.certified * (1 + 1e-9)  # sqrt(4)


@pytest.mark.parametrize("quantity", ["action_deviation", "total_variation", "kl"])
def test_visited_claims_hold_at_enough_states_or_say_why_not(
    file: ControllerFile, evidence: Evidence, quantity: str
) -> None:
    loose = certify(file, visited(quantity, 1e9), evidence).findings[0]
    assert loose.verdict is Verdict.PROVED
    assert loose.statistical
    everywhere_bound = certify(file, everywhere(quantity, 1e9)).findings[0].certified
    assert loose.certified <= everywhere_bound * (1 + 1e-9)
    assert certify(file, visited(quantity, 1e-9), evidence).findings[0].verdict is Verdict.REFUTED
    without = certify(file, visited(quantity, 1e9)).findings[0]
    assert without.verdict is Verdict.UNKNOWN
    assert "no visited observations" in without.reason
    few = certify(file, visited(quantity, 1e9, fraction=0.99), evidence).findings[0]
    assert few.verdict is Verdict.UNKNOWN
    assert "at least 299 can" in few.reason


def test_confidence_is_split_over_the_statistical_requirements(
    file: ControllerFile, evidence: Evidence
) -> None:
    alone = certify(file, visited("action_deviation", 1.0), evidence)
    both = certify(file, visited("action_deviation", 1.0) * 2, evidence)
    assert "error 0.05" in alone.findings[0].reason
    assert "error 0.025" in both.findings[0].reason
    assert both.findings[0].certified >= alone.findings[0].certified


def test_the_return_loss_follows_from_total_variation(
    file: ControllerFile, evidence: Evidence
) -> None:
    budget = requirement("return_loss", epsilon=0.001, norm="linf", at_most=1e9)
    finding = certify(file, budget, evidence).findings[0]
    assert finding.verdict is Verdict.PROVED
    assert 0 < finding.certified < 3 / (1 - 0.9)
    assert certify(file, budget).findings[0].reason == "no reward_range is assumed"
    horizon = replace(evidence, discount=None, horizon=50)
    assert "horizon 50" in certify(file, budget, horizon).findings[0].method


def sampled_episodes(count: int, horizon: int, reward: float = 0.5) -> SampledEpisodes:
    rng = np.random.default_rng(9)
    left = np.arange(horizon, 0, -1)
    alive = rng.random(count) < 0.8
    return SampledEpisodes(
        observations=np.where(alive[:, None], rng.normal(0, 1, (count, 4)), 0.0),
        steps=rng.choice(horizon, size=count, p=left / left.sum()),
        alive=alive,
        returns=np.full(count, reward * horizon),
        horizon=horizon,
    )


@pytest.mark.parametrize("form", ["average", "path"])
def test_clean_episodes_lower_the_return_loss_and_make_it_statistical(
    file: ControllerFile, form: str
) -> None:
    sampled = sampled_episodes(4000, 30)
    evidence = Evidence(
        reward_range=(0.0, 1.0),
        discount=0.9 if form == "average" else None,
        horizon=30,
        sampled=sampled,
    )
    fields = {"epsilon": 0.001, "norm": "linf", "at_most": 1e9}
    always = certify(file, requirement("return_loss", **fields), evidence).findings[0]
    budget = requirement("return_loss", **fields, confidence=0.95)
    certificate = certify(file, budget, evidence)
    finding = certificate.findings[0]
    assert not always.statistical
    assert finding.statistical
    assert finding.method.startswith(form)
    assert finding.certified < always.certified
    assert "error 0.05" in finding.reason
    value = certificate.claims.value
    assert form in value.losses
    assert value.attacked_return.bound < value.attacked_return.clean_at_least <= 15
    read = Certificate.parse(certificate.to_json())
    assert check_certificate(read, file, sampled=sampled).unchecked == ()
    assert len(check_certificate(read, file).unchecked) == 1
    other = replace(sampled, alive=~sampled.alive)
    with pytest.raises(IntegrityError, match="other sampled episodes"):
        check_certificate(read, file, sampled=other)
    with_none = certify(file, budget, replace(evidence, sampled=None)).findings[0]
    assert "no clean episodes" in with_none.reason
    assert with_none.certified == pytest.approx(always.certified)


def test_a_horizon_that_the_episodes_do_not_have_is_no_evidence(file: ControllerFile) -> None:
    evidence = Evidence(reward_range=(0.0, 1.0), horizon=40, sampled=sampled_episodes(50, 30))
    budget = requirement("return_loss", epsilon=0.001, norm="linf", at_most=1e9, confidence=0.95)
    certificate = certify(file, budget, evidence)
    assert "a horizon of 30" in certificate.findings[0].reason
    assert certificate.claims.value.path is None


def test_clean_returns_beyond_the_assumed_rewards_prove_nothing(file: ControllerFile) -> None:
    sampled = sampled_episodes(50, 30, reward=2.0)
    evidence = Evidence(reward_range=(0.0, 1.0), horizon=30, sampled=sampled)
    claims = certify(file, everywhere("action_deviation", 1e9), evidence).claims
    assert claims.value.attacked_return.bound is None
    assert "contradicts" in claims.value.attacked_return.reason
    loss = requirement("return_loss", epsilon=0.001, norm="linf", at_most=1e9)
    finding = certify(file, loss, evidence).findings[0]
    assert finding.verdict is Verdict.UNKNOWN
    assert "a clean return contradicts" in finding.reason


@pytest.mark.parametrize("quantity", ["total_variation", "kl"])
def test_nothing_is_said_about_the_sampling_policy_of_a_file_that_names_no_noise(
    file: ControllerFile, evidence: Evidence, quantity: str
) -> None:
    silent = file_of(replace(file.policy, head=replace(file.policy.head, std=None)))
    budget = everywhere(quantity, 1e9) + visited(quantity, 1e9)
    budget += requirement("return_loss", epsilon=0.05, norm="linf", at_most=1e9)
    budget += everywhere("action_deviation", 1e9) + visited("action_deviation", 1e9)
    certificate = certify(silent, budget, evidence)
    for finding in certificate.findings[:3]:
        assert (finding.verdict, finding.certified) == (Verdict.UNKNOWN, None)
        assert finding.reason == "the file names no noise"
    assert [entry.verdict for entry in certificate.findings[3:]] == [Verdict.PROVED] * 2
    claims = certificate.claims
    assert claims.distribution.total_variation is None
    assert claims.distribution.transport is None
    assert claims.value is None
    assert claims.paper.total_variation_as_printed == {}
    assert claims.paper.reason == "the file names no noise"
    assert check_certificate(certificate, silent, observations=evidence.observations).proved


def test_without_a_clip_nothing_that_needs_the_rounding_term_is_proved(evidence: Evidence) -> None:
    policy = draw_policy(np.random.default_rng(2), [4, 8, 2], clip=np.inf)
    budget = everywhere("action_deviation", 1e9) + visited("action_deviation", 1e9)
    certificate = certify(file_of(policy), budget, evidence)
    assert certificate.runtime_error == ()
    assert certificate.findings[0].verdict is Verdict.UNKNOWN
    assert "unbounded" in certificate.findings[0].reason
    # Visited states are bounded by themselves.
    assert certificate.findings[1].verdict is Verdict.PROVED


def measurement(file: ControllerFile, **changes: object) -> Measurement:
    fields = {
        "quantity": "attacked_return",
        "value": 900.0,
        "onnx_sha256": sha256_hex(file.data),
        "epsilon": 0.05,
        "norm": Norm.LINF,
    }
    return Measurement(**fields | changes)


def test_measured_quantities_are_taken_from_this_file_alone(file: ControllerFile) -> None:
    budget = requirement("attacked_return", epsilon=0.05, norm="linf", at_least=800)

    def found(*entries: Measurement) -> tuple[Verdict, str]:
        finding = certify(file, budget, Evidence(measurements=entries)).findings[0]
        assert finding.measured
        return finding.verdict, finding.reason

    assert found(measurement(file))[0] is Verdict.PROVED
    assert found(measurement(file), measurement(file, value=700.0))[0] is Verdict.REFUTED
    other = measurement(file, onnx_sha256="0" * 64)
    assert found(other) == (Verdict.UNKNOWN, "it was measured on another file")
    assert found(measurement(file, epsilon=0.01))[1] == "it was not measured"


def test_success_rates_are_measured_with_confidence(file: ControllerFile) -> None:
    budget = requirement("success_rate", epsilon=0.05, norm="linf", confidence=0.95, at_least=0.97)

    def found(*values: float) -> Certificate:
        entries = tuple(
            measurement(
                file, quantity="success_rate", value=value, episodes=100, source=f"attack {value}"
            )
            for value in values
        )
        certificate = certify(file, budget, Evidence(measurements=entries))
        assert check_certificate(certificate, file).proved
        return certificate

    best = found(1.0)
    finding = best.findings[0]
    assert (finding.verdict, finding.certified) == (Verdict.PROVED, None)
    assert finding.measured
    assert finding.statistical
    assert finding.sampled == pytest.approx(0.970487, abs=1e-6)
    assert "under attack 1.0, not proved" in finding.reason
    assert "confidence 0.95" in finding.reason
    assert "Guaranteed" not in explain(best)
    assert "attacked within 0.05 (linf), at least a share 0.9704" in explain(best)
    assert found(0.97).findings[0].verdict is Verdict.UNKNOWN
    refuted = found(0.5).findings[0]
    assert refuted.verdict is Verdict.REFUTED
    assert "not proved" not in refuted.reason, "a violation that was seen needs no proof"
    assert found(1.0, 0.5).findings[0].witness.source == "attack 0.5"
    assert certify(file, budget).findings[0].reason == "it was not measured"


def test_a_return_with_a_confidence_counts_by_its_lower_limit(file: ControllerFile) -> None:
    returns = tuple(800 + 100 * np.random.default_rng(0).random(200))
    entry = measurement(file, value=float(np.mean(returns)), returns=returns, source="mad")
    evidence = Evidence(measurements=(entry,), reward_range=(0.0, 1.0), horizon=1000)

    def found(limit: float, evidence: Evidence = evidence) -> Certificate:
        need = requirement(
            "attacked_return", epsilon=0.05, norm="linf", confidence=0.95, at_least=limit
        )
        certificate = certify(file, need, evidence)
        assert check_certificate(Certificate.parse(certificate.to_json()), file).proved
        return certificate

    finding = found(700).findings[0]
    assert (finding.verdict, finding.method, finding.statistical) == (
        Verdict.PROVED,
        "betting",
        True,
    )
    assert 700 < finding.sampled < np.mean(returns)
    assert found(float(np.mean(returns))).findings[0].verdict is Verdict.UNKNOWN
    assert found(950).findings[0].verdict is Verdict.REFUTED
    row = found(700).claims.measured[0]
    mean = row.returns.mean_at_least
    assert max(mean.betting, mean.dkw, mean.hoeffding) < row.value
    assert row.returns.quantile_at_least <= np.quantile(returns, 0.05)
    nothing = found(700, replace(evidence, horizon=None)).findings[0]
    assert (nothing.verdict, "bound a return" in nothing.reason) == (Verdict.UNKNOWN, True)
    beyond = found(700, replace(evidence, reward_range=(0.0, 0.1))).findings[0]
    assert "which reward_range allows" in beyond.reason


def clean_episodes(file: ControllerFile, **changes: object) -> Episodes:
    fields = {
        "onnx_sha256": sha256_hex(file.data),
        "source": "the clean loop",
        "ball": None,
        "returns": tuple(800 + 100 * np.random.default_rng(0).random(200)),
        "survived": (True,) * 150 + (False,) * 50,
        "successes": (True,) * 190 + (False,) * 10,
    }
    return Episodes(**fields | changes)


def test_clean_episodes_meet_or_miss_what_is_required_of_the_task(file: ControllerFile) -> None:
    evidence = Evidence(
        measurements=measurements_of(clean_episodes(file)), reward_range=(0.0, 1.0), horizon=1000
    )

    def outcome(budget: str, evidence: Evidence = evidence) -> tuple[str, str]:
        finding = certify(file, budget, evidence).findings[0]
        assert finding.measured
        assert finding.certified is None
        return finding.outcome, finding.reason

    mean = float(np.mean(clean_episodes(file).returns))
    assert outcome(requirement("clean_return", at_least=mean - 1))[0] == "MET"
    assert outcome(requirement("clean_return", at_least=mean + 1))[0] == "REFUTED"
    sure = requirement("clean_return", at_least=mean - 1, confidence=0.95)
    assert outcome(sure)[0] == "UNKNOWN"  # the lower limit is further down
    assert outcome(sure.replace(str(mean - 1), "600.0"))[0] == "MET"
    done = requirement("task_success", at_least=0.9, confidence=0.95)
    word, reason = outcome(done)
    assert word == "MET"
    assert "measured under the clean loop, not proved: 190 of 200 episodes" in reason
    assert outcome(done.replace("0.9\n", "0.99\n"))[0] == "REFUTED"
    silent = measurements_of(clean_episodes(file, successes=None))
    assert outcome(done, replace(evidence, measurements=silent)) == (
        "UNKNOWN",
        "it was not measured",
    )


def test_what_an_attack_left_is_no_clean_return_and_no_clean_success(file: ControllerFile) -> None:
    attacked = clean_episodes(file, ball=Ball(norm=Norm.LINF, epsilon=0.05), source="mad")
    evidence = Evidence(measurements=measurements_of(attacked))
    under = {"epsilon": 0.05, "norm": "linf"}
    budget = requirement("clean_return", at_least=1)
    budget += requirement("task_success", at_least=0.1, confidence=0.9)
    budget += requirement("task_success", at_least=0.1, confidence=0.9, **under)
    budget += requirement("attacked_return", at_least=1, **under)
    budget += requirement("success_rate", at_least=0.1, confidence=0.9, **under)
    outcomes = [finding.outcome for finding in certify(file, budget, evidence).findings]
    assert outcomes == ["UNKNOWN", "UNKNOWN", "MET", "MET", "MET"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"quantity": "kl"}, "must be a measured quantity, got 'kl'"),
        ({"quantity": "task_success", "value": 0.5}, "task_success needs its episodes, got None"),
        ({"quantity": "success_rate", "value": 0.3, "episodes": 7}, "must be a share of 7"),
        ({"quantity": "latency_us", "value": 1.0, "returns": (1.0,)}, "has no returns, got 1"),
    ],
)
def test_a_measurement_that_is_none_of_its_quantity_is_refused(
    file: ControllerFile, entry: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Evidence(measurements=(measurement(file, **entry),))


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_episodes_that_failed_leave_a_return_unknown(
    file: ControllerFile, confidence: float | None
) -> None:
    given = {} if confidence is None else {"confidence": confidence}
    need = requirement("attacked_return", epsilon=0.05, norm="linf", at_least=1, **given)
    sound = measurement(file, returns=(900.0,) * 200, source="mad")
    failed = replace(sound, source="corners", failures=3)
    evidence = Evidence(measurements=(sound,), reward_range=(0.0, 1.0), horizon=1000)
    assert certify(file, need, evidence).findings[0].verdict is Verdict.PROVED

    certificate = certify(file, need, replace(evidence, measurements=(sound, failed)))
    finding = certificate.findings[0]
    assert (finding.verdict, finding.certified, finding.sampled) == (Verdict.UNKNOWN, None, None)
    assert "3 episodes failed under corners" in finding.reason
    # Nothing is refuted by it either: what failed early has no return to compare.
    high = need.replace("at_least = 1", "at_least = 950")
    evidence = replace(evidence, measurements=(failed,))
    assert certify(file, high, evidence).findings[0].verdict is Verdict.UNKNOWN
    # Elsewhere it says nothing about this file.
    other = replace(failed, onnx_sha256="0" * 64)
    evidence = replace(evidence, measurements=(sound, other))
    assert certify(file, need, evidence).findings[0].verdict is Verdict.PROVED
    assert check_certificate(Certificate.parse(certificate.to_json()), file).proved


def test_a_negative_number_of_failures_is_refused(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="failures must be at least 0, got -1"):
        measurement(file, failures=-1)


def test_states_that_repeat_are_no_further_evidence(
    file: ControllerFile, evidence: Evidence
) -> None:
    observations = evidence.observations.copy()
    observations[40:] = observations[:40]
    repeated = replace(evidence, observations=observations, dense_policy=file.policy)
    budget = visited("action_deviation", 1e9) + visited("kl", 1e-9)
    budget += requirement(
        "compression_error", scope="visited", fraction=0.9, confidence=0.95, at_most=1.0
    )
    for finding in certify(file, budget, repeated).findings:
        assert (finding.verdict, finding.certified) == (Verdict.UNKNOWN, None)
        assert finding.reason == "40 of 80 visited states repeat"


def test_what_was_measured_of_the_runtime_is_said_to_be_assumed() -> None:
    for activation, squash, smooth in (
        (Activation.RELU, Squash.CLIP, False),
        (Activation.RELU, Squash.TANH, True),
        (Activation.SILU, Squash.CLIP, True),
    ):
        policy = draw_policy(np.random.default_rng(3), [3, 8, 2], activation, squash=squash)
        certificate = certify(file_of(policy), everywhere("action_deviation", 1e9))
        assert (certificate.claims.runtime_error.assumption is not None) is smooth
        assert ("Assumed: smooth activations" in explain(certificate)) is smooth
    for arithmetic, tau in (("float32", 10), ("float32-fine", 1024), ("float32-coarse", 8192)):
        budget = everywhere("action_deviation", 1e9)
        told = certify(file_of(policy), budget, arithmetic=arithmetic)
        assert f"err by at most {tau} * 2^-24" in explain(told)


def test_the_certificate_names_the_runtime_that_replayed(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = everywhere("action_deviation", 1e9)
    assert certify(file, budget).proof["runtime"].startswith("ONNX Runtime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert certify(file, budget).proof["runtime"].startswith("NumPy float32")


@pytest.mark.parametrize("hidden", [[], [4], [4] * 9])
@pytest.mark.parametrize("categorical", [False, True])
def test_weights_near_the_largest_float32_prove_nothing_and_raise_nothing(
    hidden: list[int], categorical: bool
) -> None:
    policy = draw_policy(
        np.random.default_rng(6), [4, *hidden, 2], Activation.RELU, categorical=categorical
    )
    layers = tuple(
        replace(layer, weight=np.sign(layer.weight) * np.float32(1e38)) for layer in policy.layers
    )
    budget = everywhere("action_deviation", 1.0) + everywhere("kl", 1.0, norm="l2")
    budget += requirement("lipschitz", norm="l2", at_most=5.0) + visited("total_variation", 0.5)
    observations = np.random.default_rng(7).normal(0, 1, (60, 4))
    file = file_of(replace(policy, layers=layers))
    certificate = certify(file, budget, Evidence(observations=observations))
    assert all(finding.verdict is not Verdict.PROVED for finding in certificate.findings)
    assert Certificate.parse(certificate.to_json()) == certificate


def test_sparsity_and_size_are_counted(file: ControllerFile) -> None:
    budget = requirement("sparsity", at_least=0.5) + requirement("size_bytes", at_most=10**6)
    findings = certify(file, budget).findings
    assert [finding.verdict for finding in findings] == [Verdict.REFUTED, Verdict.PROVED]


@pytest.mark.parametrize("activation", Activation)
def test_every_activation_gets_a_certificate_that_survives_json(activation: Activation) -> None:
    policy = draw_policy(np.random.default_rng(3), [3, 8, 8, 2], activation, squash=Squash.TANH)
    budget = everywhere("action_deviation", 1e9) + everywhere("total_variation", 1.0)
    certificate = certify(file_of(policy), budget)
    assert certificate.verdict is Verdict.PROVED
    assert Certificate.parse(certificate.to_json()).to_json() == certificate.to_json()


@pytest.mark.parametrize("hidden", [[], [8], [8, 8, 8]])
def test_every_depth_and_a_categorical_head_get_a_certificate(hidden: list[int]) -> None:
    policy = draw_policy(np.random.default_rng(4), [3, *hidden, 4], categorical=True)
    budget = everywhere("total_variation", 1.0) + everywhere("kl", 1e9)
    observations = np.random.default_rng(5).normal(0, 1, (60, 3))
    certificate = certify(
        file_of(policy),
        budget + visited("total_variation", 1.0),
        Evidence(observations=observations),
    )
    assert certificate.verdict is Verdict.PROVED
    assert certificate.findings[0].certified < 1


def test_the_same_input_gives_the_same_certificate(
    file: ControllerFile, evidence: Evidence
) -> None:
    budget = everywhere("action_deviation", 1.0) + visited("total_variation", 0.5)
    assert certify(file, budget, evidence).to_json() == certify(file, budget, evidence).to_json()


def test_the_tables_hold_every_bound_above_what_was_sampled(file: ControllerFile) -> None:
    certificate = certify(file, everywhere("action_deviation", 1.0))
    for table in (certificate.lipschitz_l2, certificate.deviation_linf):
        values = {key: value for key, value in table.items() if key != "epsilon"}
        assert None not in values.values()
        assert min(values, key=values.__getitem__) == "sampled"
    least = min(v for k, v in certificate.lipschitz_l2.items() if k not in ("best", "sampled"))
    assert certificate.lipschitz_l2["best"] == least


def test_effort_is_read_from_a_table() -> None:
    config = build(CertifyConfig, {"arithmetic": "tf32", "lipsdp_iterations": 7}, "certify")
    assert (config.arithmetic, config.lipsdp_iterations) == ("tf32", 7)
    with pytest.raises(InputError, match="arithmetic must be one of"):
        build(CertifyConfig, {"arithmetic": "float8"}, "certify")
    with pytest.raises(InputError, match="search_steps must be at least 1"):
        CertifyConfig(search_steps=0)
    with pytest.raises(InputError, match="arithmetic must be one of"):
        CertifyConfig(arithmetic="float8")


def test_coarser_arithmetic_costs_a_larger_bound(file: ControllerFile) -> None:
    budget = everywhere("action_deviation", 1e9)
    plain = certify(file, budget)
    coarse = certify(file, budget, arithmetic="tf32")
    assert coarse.arithmetic == "tf32"
    assert coarse.findings[0].certified > plain.findings[0].certified


def test_a_search_above_a_bound_stops_everything() -> None:
    need = Budget.parse(everywhere("action_deviation", 1.0)).requirements[0]
    half = Bound(value=0.5, method="x")
    with pytest.raises(CheckError, match="which is a bug"):
        conclude(need, half, found(0.6), 0.0)
    with pytest.raises(CheckError, match="proved and refuted"):
        conclude(need, half, found(0.4, witness=Witness(value=2.0)), 0.0)
    for nothing in (np.inf, np.nan):
        finding = conclude(need, Bound(value=nothing, method="x", note="why"), found(0.4), 0.0)
        assert (finding.verdict, finding.certified) == (Verdict.UNKNOWN, None)
        assert finding.reason == "why"
        silent = conclude(need, Bound(value=nothing, method="x"), found(0.4), 0.0)
        assert silent.reason == "no finite bound is known"


def test_a_search_above_the_bound_of_one_state_stops_everything() -> None:
    need = Budget.parse(visited("action_deviation", 1.0)).requirements[0]
    bound = Bound(value=0.5, method="x", per_state=np.array([0.1, 0.5]))
    assert conclude(need, bound, found(0.1, 0.5), 0.05).statistical
    with pytest.raises(CheckError, match="which is a bug"):
        conclude(need, bound, found(0.2, 0.3), 0.05)


def found(*values: float, witness: Witness | None = None) -> Found:
    return Found(values=np.array(values), violation=lambda limit: witness)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observations": np.full((2, 4), np.nan)}, "observations must be finite"),
        ({"reward_range": (1.0, 0.0)}, "reward_range must be"),
        ({"discount": 1.0}, "discount must be in"),
        ({"horizon": 0}, "horizon must be in"),
    ],
)
def test_bad_evidence_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Evidence(**fields)


def test_observations_of_another_size_are_refused(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="observations must have 4 columns, got 3"):
        certify(file, visited("action_deviation", 1.0), Evidence(observations=np.zeros((80, 3))))


@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH])
def test_no_certified_deviation_exceeds_the_range_of_the_actuators(squash: Squash) -> None:
    # Weights so large that float32 may err by more than the actions can move.
    policy = draw_policy(
        np.random.default_rng(3), [4, 64, 64, 2], gain=300.0, squash=squash, half_range=0.5
    )
    evidence = Evidence(observations=np.random.default_rng(1).normal(0, 1, (40, 4)))
    budget = everywhere("action_deviation", 1.5) + visited("action_deviation", 1.5)
    certificate = certify(file_of(policy), budget, evidence)
    at_states = certificate.claims.visited_deviation
    assert at_states is not None
    assert 2 * max(certificate.runtime_error) > 1.0
    for certified in (
        *(finding.certified for finding in certificate.findings),
        certificate.deviation_linf["best"],
        *at_states.certified,
    ):
        assert certified is not None
        assert certified <= 1.0 * (1 + 2.0**-19)
    assert certificate.findings[0].method == "action_range"


def test_a_bound_just_above_its_limit_is_not_shown_as_the_limit() -> None:
    need = Requirement(quantity="lipschitz", norm=Norm.L2, at_most=2.0)
    finding = conclude(need, Bound(value=2.0000004, method="lipsdp"), None, 0.05)
    assert finding.verdict is Verdict.UNKNOWN
    assert "bound 2.00001 does not meet the limit 2; no violation was looked for" in finding.reason
