"""A signed bundle of a random policy, made in a second: what hostile files are made from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.policies import random_policy
from surefoot.artifact import Artifact, read_artifact
from surefoot.budget import Budget
from surefoot.bundle import write_signatures
from surefoot.certify import Assumptions, CertifyConfig, Evidence, certify_policy
from surefoot.export import ExportConfig, Target, assemble_bundle
from surefoot.keys import public_pem
from surefoot.onnx_file import load_policy, save_policy
from surefoot.signing import SIGNATURES_FILE, Role, Statement, TrustPolicy, verified_statements
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
        key_file: Public key of who signed it for every role.
        trust: That it is signed so.
    """

    folder: Path
    artifact: Artifact
    key_file: Path
    trust: TrustPolicy

    def says_the_same(self, folder: Path) -> bool:
        """Whether another folder holds the same files, and nothing that was not signed here.

        Signatures may be spelt otherwise: with another end of the line, or a line twice.
        """
        if read_artifact(folder, "bundle", beside={SIGNATURES_FILE}) != self.artifact:
            return False
        signed = self._signed_in(self.folder)
        return all(statement in signed for statement in self._signed_in(folder))

    def _signed_in(self, folder: Path) -> list[Statement]:
        path = folder / SIGNATURES_FILE
        return verified_statements(path.read_bytes() if path.exists() else b"", self.trust.keys)


def small_bundle(place: Path) -> SmallBundle:
    """Make a bundle with every kind of file below a folder."""
    rng = np.random.default_rng(0)
    policy = random_policy(rng, (3, 6, 6, 2), zeros=0.8)  # so that a sparse file pays
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
            recorded=visited.recorded,
            sampled=sampled,
            reward_range=assumed.reward_range,
            discount=assumed.discount,
            horizon=assumed.horizon,
        ),
        CertifyConfig(search_states=4, search_steps=1, lipsdp_iterations=3, lipsdp_per_actuator=2),
    )
    config = ExportConfig(targets=(Target.SPARSE_ONNX,), num_random=10)
    opened = assemble_bundle(bundle, file, origin, certificate, config)
    key = Ed25519PrivateKey.generate()
    write_signatures(bundle, opened, dict.fromkeys(Role, key), ["parity/numpy"])
    key_file = place / "key.pub"
    key_file.write_bytes(public_pem(key))
    trust = TrustPolicy(keys=dict.fromkeys(Role, (key.public_key(),)))
    artifact = read_artifact(bundle, "bundle", beside={SIGNATURES_FILE})
    return SmallBundle(folder=bundle, artifact=artifact, key_file=key_file, trust=trust)
