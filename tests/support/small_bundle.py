"""A signed bundle of a random policy, made in a second: what hostile files are made from."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from surefoot.artifact import Artifact, read_artifact
from surefoot.budget import Budget
from surefoot.bundle import sign_bundle
from surefoot.certify import Assumptions, CertifyConfig, Evidence, certify_policy
from surefoot.export import ExportConfig, Target, export_bundle
from surefoot.onnx_file import load_policy, save_policy
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.signing import SIGNATURES_FILE, Role, TrustPolicy
from surefoot.visited import VISITED_FILE, SampledEpisodes, Visited

BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 10.0

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "visited"
fraction = 0.5
confidence = 0.5
at_most = 10.0

[[require]]
quantity = "return_loss"
epsilon = 0.01
norm = "linf"
confidence = 0.5
at_most = 1e6

[[require]]
quantity = "sparsity"
at_least = 0.0
"""


@dataclass(frozen=True)
class SmallBundle:
    """A bundle and who signed it.

    Attributes:
        folder: The bundle.
        artifact: Its content.
        trust: Whose signatures it carries.
    """

    folder: Path
    artifact: Artifact
    trust: TrustPolicy


def small_bundle(place: Path) -> SmallBundle:
    """Make a bundle with every kind of file below a folder."""
    rng = np.random.default_rng(0)
    policy = small_policy(rng, (3, 6, 6, 2))
    states = rng.normal(size=(24, 3))
    sampled = SampledEpisodes(
        observations=states,
        steps=np.arange(24),
        alive=np.ones(24, dtype=np.bool_),
        returns=rng.normal(size=24),
        horizon=50,
    )
    visited = Visited(
        independent=states, steps=np.arange(24), num_discarded=1, pool=states, sampled=sampled
    )
    folder, bundle = place / "policy", place / "bundle"
    save_policy(
        folder,
        policy,
        metadata={"env": {"id": "Task-v0"}},
        extra_files={VISITED_FILE: visited.to_bytes()},
    )
    file, origin = load_policy(folder)
    assumed = Assumptions(reward_range=(-1.0, 1.0), discount=0.9, horizon=50)
    certificate = certify_policy(
        file,
        Budget.parse(BUDGET),
        Evidence(
            observations=visited.independent,
            sampled=sampled,
            reward_range=assumed.reward_range,
            discount=assumed.discount,
            horizon=assumed.horizon,
        ),
        CertifyConfig(search_states=4, search_steps=1, lipsdp_iterations=3, lipsdp_per_actuator=2),
    )
    config = ExportConfig(targets=(Target.SPARSE_ONNX,), num_random=10)
    opened = export_bundle(bundle, file, origin, certificate, config)
    key = Ed25519PrivateKey.generate()
    sign_bundle(bundle, opened, dict.fromkeys(Role, key), ["parity/numpy"])
    trust = TrustPolicy(keys=dict.fromkeys(Role, (key.public_key(),)))
    artifact = read_artifact(bundle, "bundle", beside={SIGNATURES_FILE})
    return SmallBundle(folder=bundle, artifact=artifact, trust=trust)


def small_policy(rng: np.random.Generator, sizes: tuple[int, ...]) -> Policy:
    """Return a random policy of these sizes, most of whose weights are zero."""
    layers = []
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(size=(fan_out, fan_in)) * (rng.random((fan_out, fan_in)) < 0.2)
        is_last = number == len(sizes) - 2
        layers.append(
            Layer(
                weight=weight.astype(np.float32),
                bias=np.zeros(fan_out, np.float32),
                activation=Activation.IDENTITY if is_last else Activation.TANH,
            )
        )
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(sizes[0], np.float32), scale=np.ones(sizes[0], np.float32), clip=10.0
        ),
        layers=tuple(layers),
        head=GaussianHead(
            std=np.full(sizes[-1], 0.1),
            squash=Squash.CLIP,
            half_range=np.ones(sizes[-1], np.float32),
            centre=np.zeros(sizes[-1], np.float32),
        ),
    )
