"""What an exploration says could be proved is proved when it is required."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.budget import Budget, Scope
from surefoot.certificate import Verdict
from surefoot.certify import Analysis, CertifyConfig, Evidence, certify_analysis
from surefoot.certify.exploration import draft_budget, explore
from surefoot.policy import Activation, CategoricalHead, Policy, Squash

QUICK = CertifyConfig(search_states=8, search_steps=4, lipsdp_iterations=5, lipsdp_per_actuator=0)
STATES = np.random.default_rng(0).normal(0, 1, (60, 4))
EVIDENCE = {
    "no states": Evidence(),
    "recorded states": Evidence(recorded=STATES),
    "visited states": Evidence(observations=STATES),
}


def policy(squash: Squash = Squash.CLIP, clip: float = 10.0) -> Policy:
    return random_policy(np.random.default_rng(1), [4, 8, 8, 2], Activation.TANH, squash, clip)


@pytest.mark.parametrize("evidence", EVIDENCE.values(), ids=EVIDENCE)
@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH, Squash.IDENTITY])
def test_the_draft_is_a_budget_that_the_controller_meets(
    squash: Squash, evidence: Evidence
) -> None:
    analysis = Analysis(file_of(policy(squash)), evidence, QUICK)
    draft = draft_budget(explore(analysis), "actor.onnx")
    certificate = certify_analysis(analysis, Budget.parse(draft))
    assert certificate.verdict is Verdict.PROVED
    scopes = {need.scope for need in certificate.budget.requirements}
    assert Scope.EVERYWHERE in scopes
    assert (Scope.RECORDED in scopes) == (evidence.recorded is not None)
    assert (Scope.VISITED in scopes) == (evidence.observations is not None)


def test_no_size_is_proved_below_what_is_found_there() -> None:
    found = explore(Analysis(file_of(policy()), EVIDENCE["recorded states"], QUICK))
    assert found.num_states == len(STATES)
    for row in found.deviations:
        assert row.proved is not None
        assert row.proved_at_states is not None
        assert row.found_at_states is not None
        assert row.found <= row.proved
        assert row.found_at_states <= row.proved_at_states <= row.proved


def test_what_says_no_more_than_the_range_is_called_vacuous_and_not_suggested() -> None:
    steep = policy()
    first = replace(steep.layers[0], weight=np.float32(1000) * steep.layers[0].weight)
    file = file_of(replace(steep, layers=(first, *steep.layers[1:])))
    found = explore(Analysis(file, Evidence(), QUICK))
    assert found.action_range is not None
    for row in found.deviations:
        assert row.vacuous == (row.proved == pytest.approx(found.action_range))
    assert found.deviations[-1].vacuous
    suggested = [candidate.requirement for candidate in found.candidates]
    assert all(need.limit < found.action_range for need in suggested if need.epsilon)


def test_why_nothing_is_proved_is_said_and_the_draft_asks_for_nothing_of_it() -> None:
    unbounded = policy(Squash.IDENTITY, clip=np.inf)
    found = explore(Analysis(file_of(unbounded), Evidence(), QUICK))
    assert "state_limit" in found.reason
    assert all(row.proved is None and not row.vacuous for row in found.deviations)
    assert {c.requirement.quantity for c in found.candidates} == {"lipschitz"}
    assert "state_limit" in draft_budget(found, "actor.onnx")


@pytest.mark.parametrize("evidence", ["recorded states", "visited states"])
def test_of_a_controller_that_chooses_the_lead_of_its_choice_is_offered_and_proved(
    evidence: str,
) -> None:
    drawn = random_policy(np.random.default_rng(1), [4, 8, 2], Activation.TANH)
    *before, last = drawn.layers
    # One choice leads by 40 logits at all states, so that it stays under each perturbation.
    leading = replace(last, bias=np.array([40, 0], np.float32))
    chooses = replace(drawn, layers=(*before, leading), head=CategoricalHead(num_actions=2))
    analysis = Analysis(file_of(chooses), EVIDENCE[evidence], QUICK)
    found = explore(analysis)
    leads = [c for c in found.candidates if c.requirement.quantity == "choice_lead"]
    assert [lead.requirement.epsilon for lead in leads] == [found.deviations[-1].epsilon]
    assert leads[0].requirement.limit < 0
    if leads[0].requirement.scope is Scope.RECORDED:  # else a share of the states is left out
        assert leads[0].found <= leads[0].requirement.limit
    budget = Budget.parse(draft_budget(found, "actor.onnx"))
    assert leads[0].requirement in budget.requirements
    assert certify_analysis(analysis, budget).verdict is Verdict.PROVED


def test_a_choice_that_may_change_is_not_offered_as_one_that_stays() -> None:
    drawn = random_policy(np.random.default_rng(1), [4, 8, 2], Activation.TANH)
    chooses = replace(drawn, head=CategoricalHead(num_actions=2))
    even = replace(
        chooses, layers=(*chooses.layers[:-1], replace(chooses.layers[-1], bias=np.zeros(2, "f4")))
    )
    found = explore(Analysis(file_of(even), EVIDENCE["recorded states"], QUICK), (0.5, 1.0))
    for row in found.deviations:
        assert row.proved_lead is not None
        assert row.found_lead is not None
        assert 0 < row.found_lead <= row.proved_lead
    assert "choice_lead" not in {c.requirement.quantity for c in found.candidates}


def test_no_name_breaks_out_of_its_comment() -> None:
    found = explore(Analysis(file_of(policy()), Evidence(), QUICK), epsilons=(0.05,))
    draft = draft_budget(found, 'x\n[[require]]\nquantity = "sparsity"\nat_least = 0.0')
    assert "sparsity" not in {need.quantity for need in Budget.parse(draft).requirements}


def test_the_watcher_hears_of_every_size() -> None:
    heard: list[int] = []
    explore(Analysis(file_of(policy()), Evidence(), QUICK), (0.01, 0.02, 0.03), heard.append)
    assert heard == [1, 2, 3]
