"""Key making: a key pair to sign and verify bundles with."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.keys import write_key_pair
from surefoot.output_path import check_key_file
from surefoot.workflow.listener import SILENCE, Listener


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """Where a key pair lies.

    Attributes:
        private: The half that signs, readable by its owner alone; it stays off the robot.
        public: The half that verifies; it is pinned on the robot.
    """

    private: Path
    public: Path


def make_key_pair(out: Path, listener: Listener = SILENCE) -> KeyPair:
    """Make an Ed25519 key pair: the private key at ``out``, the public one at ``out``.pub.

    A private key without its public half, which a process left that was killed, gets it.

    Args:
        out: Where the private key goes.
        listener: Is told if only the public half was made.

    Raises:
        InputError: If one of the files exists otherwise, or cannot be written.
    """
    check_key_file(out)
    pair = KeyPair(private=out, public=out.with_name(f"{out.name}.pub"))
    check_key_file(pair.public)
    if not write_key_pair(pair.private, pair.public):
        listener.remark(f"{out} existed without its public half, which is now derived from it")
    return pair
