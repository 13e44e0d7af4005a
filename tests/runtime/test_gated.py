"""A controller behind its gate: what passes, what is held, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from support.gates import random_calls, small_gate
from support.policies import random_policy
from surefoot.errors import InputError, RejectedError
from surefoot.gate import Code, Gate, Reaction, Watch
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Array, Squash
from surefoot.runtime.gated import GatedController
from surefoot.runtime.numpy_controller import NumpyEngine

FILE = policy_from_onnx(
    policy_to_onnx(random_policy(np.random.default_rng(2), (3, 5, 2), squash=Squash.CLIP))
)
ENGINE = NumpyEngine(FILE)
UNTIMED = replace(small_gate(), time=None, stop_after=None)


def wide(gate: Gate) -> Gate:
    """The gate without limits on the actions."""
    free = [replace(one, low=-9.0, high=9.0, rate=None, jerk=None) for one in gate.actions]
    return replace(gate, actions=tuple(free))


def test_what_passes_is_the_policys_own_action_and_what_is_held_the_last_one() -> None:
    controller = GatedController(ENGINE, wide(UNTIMED))
    good = np.array([[0.5, 0.5, 0.25]], np.float32)
    action = controller(good)
    assert np.array_equal(action, ENGINE.infer(good))
    assert np.array_equal(controller(np.full((1, 3), np.nan)), action)
    assert controller.num_events == 1
    assert controller.describe(controller.events[0]) == "sensor 0 is not finite"


def test_a_controller_decides_as_its_gate_does() -> None:
    gate = wide(replace(small_gate(), stop_after=None))
    controller, watch = GatedController(ENGINE, gate), Watch(gate)
    for call in random_calls(np.random.default_rng(1), gate, 300):
        code, action = watch.step(
            call.obs, lambda obs: ENGINE.infer(obs[None])[0], call.now_us, call.taken_us
        )
        if action is None:
            assert code is Code.NO_ACTION
            with pytest.raises(RejectedError, match="the gate has no action to give"):
                controller(call.obs[None], call.now_us, call.taken_us)
        else:
            given = controller(call.obs[None], call.now_us, call.taken_us)
            assert np.array_equal(given, action[None])
    assert controller.events == watch.events


def test_a_stop_names_the_sensor_and_a_reset_ends_it() -> None:
    gate = replace(wide(UNTIMED), reaction=Reaction.STOP, names=("hip", "knee", "ankle"))
    controller = GatedController(ENGINE, gate)
    good, bad = np.array([[0.5, 0.5, 0.25]]), np.array([[0.5, 9.0, 0.25]])
    for obs in (bad, good):
        words = r"has stopped the controller: sensor 1 \(knee\) is out of its range at call 1"
        with pytest.raises(RejectedError, match=words):
            controller(obs)
    controller.reset()
    assert controller(good).shape == (1, 2)


def test_what_is_no_observation_of_one_robot_is_an_error_and_no_event() -> None:
    controller = GatedController(ENGINE, wide(UNTIMED))
    for wrong, words in (
        (np.zeros((2, 3)), r"shape \(1, 3\), as a gate watches one robot, got \(2, 3\)"),
        (np.array([["a", "b", "c"]]), "must be an array of real numbers"),
        (np.ma.masked_equal([[0.5, 9.0, 0.25]], 9.0), "must have no masked entry, has 1"),
    ):
        with pytest.raises(InputError, match=words):
            controller(wrong)
    assert controller.num_events == 0
    with pytest.raises(InputError, match="now_us must be given"):
        GatedController(ENGINE, small_gate())(np.zeros((1, 3)))


def test_a_gate_that_falls_back_needs_a_function_and_another_takes_none() -> None:
    falls = replace(wide(UNTIMED), reaction=Reaction.FALLBACK)
    with pytest.raises(InputError, match="fallback must be given where the gate's reaction"):
        GatedController(ENGINE, falls)
    with pytest.raises(InputError, match="fallback is of no effect"):
        GatedController(ENGINE, wide(UNTIMED), lambda obs: np.zeros(2))
    controller = GatedController(ENGINE, falls, lambda obs: np.array([1.0, -1.0]))
    assert controller(np.full((1, 3), np.inf)).tolist() == [[1.0, -1.0]]


def test_what_is_checked_is_what_acts_whatever_is_written_meanwhile() -> None:
    memory = np.array([[0.5, 0.5, 0.25]], np.float32)

    class Simulator(NumpyEngine):
        def infer(self, obs: Array) -> Array:
            memory.fill(99.0)
            return super().infer(obs)

    expected = ENGINE.infer(memory.copy())
    assert np.array_equal(GatedController(Simulator(FILE), wide(UNTIMED))(memory), expected)


def test_a_fallback_that_uses_its_own_controller_is_an_error_and_waits_for_nothing() -> None:
    falls = replace(wide(UNTIMED), reaction=Reaction.FALLBACK, recover_after=1)
    good, bad = np.full((1, 3), 0.5), np.full((1, 3), np.nan)

    def call_again(obs: Array) -> Array:
        return np.asarray(controller(good)[0])

    def reset(obs: Array) -> Array:
        controller.reset()
        return np.zeros(2)

    for fallback in (call_again, reset):
        controller = GatedController(ENGINE, falls, fallback)
        with pytest.raises(InputError, match="not be used from within its own call"):
            controller(bad)
        assert np.array_equal(controller(good), ENGINE.infer(good.astype(np.float32)))


def test_the_gate_of_another_controller_is_refused() -> None:
    with pytest.raises(InputError, match="the gate must have 3 sensors"):
        GatedController(ENGINE, replace(UNTIMED, sensors=UNTIMED.sensors[:1], pairs=()))
