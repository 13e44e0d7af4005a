"""Key making: a key pair to sign and verify bundles with."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import write_file
from surefoot.keys import generate_key
from surefoot.output_path import check_new_file


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """Where a key pair lies.

    Attributes:
        private: The half that signs, readable by its owner alone; it stays off the robot.
        public: The half that verifies; it is pinned on the robot.
    """

    private: Path
    public: Path


def make_key_pair(out: Path) -> KeyPair:
    """Make an Ed25519 key pair: the private key at ``out``, the public one at ``out``.pub.

    Raises:
        InputError: If one of the files exists, or cannot be written.
    """
    check_new_file(out)
    pair = KeyPair(private=out, public=out.with_name(f"{out.name}.pub"))
    check_new_file(pair.public)
    private_pem, public_pem = generate_key()
    write_file(pair.private, private_pem, mode=0o600)
    write_file(pair.public, public_pem)
    return pair
