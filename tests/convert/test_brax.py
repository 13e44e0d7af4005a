"""What is converted acts as brax's own inference function acts.

brax brings JAX and is no part of `make install`: without it, the formulas of its networks are the
oracle, which are written here again.
"""

import pickle
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from scipy.special import expit

from surefoot.convert import brax
from surefoot.convert.brax import BraxNetwork, policy_of
from surefoot.errors import InputError
from surefoot.policy import Array

PATH = Path("params")
SIZES = (5, 16, 8, 4)
RNG = np.random.default_rng(0)
MEAN, STD = RNG.normal(size=5).astype(np.float32), RNG.uniform(0.5, 2, 5).astype(np.float32)


def dense(fan_in: int, fan_out: int) -> dict[str, Array]:
    kernel = RNG.normal(0, 1 / np.sqrt(fan_in), (fan_in, fan_out)).astype(np.float32)
    return {"kernel": kernel, "bias": RNG.normal(size=fan_out).astype(np.float32)}


LAYERS = [dense(*sizes) for sizes in pairwise(SIZES)]


def policy_parameters() -> dict[str, Any]:
    return {"params": {f"hidden_{number}": layer for number, layer in enumerate(LAYERS)}}


def parameters(**statistics: object) -> tuple[Any, ...]:
    return SimpleNamespace(**({"mean": MEAN, "std": STD} | statistics)), policy_parameters(), {}


def observations() -> Array:
    return (3 * np.random.default_rng(1).normal(size=(1000, 5))).astype(np.float32)


def by_formula(obs: Array, mean: Array | float = MEAN, std: Array | float = STD) -> Array:
    """MLP with swish, NormalTanhDistribution: tanh of the first half of the outputs."""
    x = (obs.astype(np.float64) - mean) / std
    for layer in LAYERS[:-1]:
        x = x @ layer["kernel"] + layer["bias"]
        x = x * expit(x)
    outputs = x @ LAYERS[-1]["kernel"] + LAYERS[-1]["bias"]
    return np.tanh(outputs[:, :2])


def test_actions_are_those_of_the_formulas() -> None:
    policy = policy_of(parameters(), BraxNetwork(), PATH)
    np.testing.assert_allclose(policy.outputs(observations()), by_formula(observations()), 1e-9)


def test_one_observation_of_several_is_taken_by_its_name() -> None:
    other = np.ones(9)
    named = parameters(mean={"state": MEAN, "all": other}, std={"state": STD, "all": other})
    policy = policy_of(named, BraxNetwork(), PATH)
    np.testing.assert_allclose(policy.outputs(observations()), by_formula(observations()), 1e-9)
    with pytest.raises(InputError, match="mean must have shape"):
        policy_of(named, BraxNetwork(key="all"), PATH)
    with pytest.raises(InputError, match="--key must be one of"):
        policy_of(named, BraxNetwork(key="mine"), PATH)


def test_raw_observations_are_not_normalised() -> None:
    policy = policy_of(parameters(), BraxNetwork(normalises=False), PATH)
    expected = by_formula(observations(), 0.0, 1.0)
    np.testing.assert_allclose(policy.outputs(observations()), expected, 1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"LayerNorm_0": {"scale": MEAN, "bias": MEAN}}, "alone, has"),
        ({"hidden_4": LAYERS[0]}, "alone, has"),
        ({"hidden_1": {"kernel": LAYERS[1]["kernel"]}}, "must hold kernel and bias"),
        ({"hidden_2": dense(8, 3)}, "means and deviations, are 3"),
    ],
)
def test_other_networks_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    table = {"params": {**policy_parameters()["params"], **change}}
    with pytest.raises(InputError, match=said):
        policy_of((parameters()[0], table), BraxNetwork(), PATH)


def test_what_is_no_pair_of_parameters_is_refused() -> None:
    for wrong in ((), (1, 2), (parameters()[0], {"params": [1]})):
        with pytest.raises(InputError, match="params"):
            policy_of(wrong, BraxNetwork(), PATH)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="--activation must be one of elu"):
        BraxNetwork(activation="gelu")


def test_without_brax_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "brax", None)
    path = tmp_path / "params"
    path.write_bytes(pickle.dumps((1, 2)))
    assert brax.main([str(path), "--out", str(tmp_path / "policy.onnx")]) == 2
    said = capsys.readouterr().err
    assert "brax" in said
    assert said.count("\n") == 1


@pytest.mark.filterwarnings("ignore")  # of brax and JAX about themselves
@pytest.mark.parametrize("by_name", [True, False])
def test_actions_are_those_of_the_inference_function(tmp_path: Path, by_name: bool) -> None:
    pytest.importorskip("brax", reason="brax brings JAX, and is no part of make install")
    import jax
    from brax.io.model import save_params
    from brax.training.acme import running_statistics
    from brax.training.agents.ppo import networks as ppo

    size: Any = {"state": (5,), "privileged_state": (7,)} if by_name else 5
    networks = ppo.make_ppo_networks(
        size,
        2,
        preprocess_observations_fn=running_statistics.normalize,
        policy_hidden_layer_sizes=(16, 8),
    )
    zeros = {name: np.zeros(shape, np.float32) for name, shape in size.items()} if by_name else MEAN
    statistics = running_statistics.init_state(zeros)
    batch = jax.tree_util.tree_map(lambda x: RNG.normal(1, 2, (64, *x.shape)), zeros)
    statistics = running_statistics.update(statistics, batch)
    drawn = networks.policy_network.init(jax.random.PRNGKey(0))
    path, out = tmp_path / "params", tmp_path / "policy.onnx"
    save_params(str(path), (statistics, drawn, {}))
    assert brax.main([str(path), "--out", str(out)]) == 0
    act = ppo.make_inference_fn(networks)((statistics, drawn), deterministic=True)
    obs = observations()
    expected, _ = act({"state": obs} if by_name else obs, jax.random.PRNGKey(0))
    (outputs,) = onnxruntime.InferenceSession(out).run(None, {"obs": obs})
    np.testing.assert_allclose(outputs, np.asarray(expected), rtol=0, atol=1e-5)
