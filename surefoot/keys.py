"""Ed25519 keys in PEM files, as ``openssl genpkey -algorithm ed25519`` writes them."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from surefoot.artifact import read_file
from surefoot.errors import InputError

_MAX_KEY_BYTES = 1 << 16


def generate_key() -> tuple[bytes, bytes]:
    """Return a new private key and its public key, PEM, as ``openssl genpkey`` writes them."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, public_pem(key)


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """Return the public half of a key, PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an unencrypted Ed25519 private key.

    Raises:
        InputError: If the file holds no such key.
    """
    data = read_file(path, max_bytes=_MAX_KEY_BYTES)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} must be an unencrypted private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} must be an Ed25519 key, is a {type(key).__name__}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key.

    Raises:
        InputError: If the file holds no such key.
    """
    data = read_file(path, max_bytes=_MAX_KEY_BYTES)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} must be a public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} must be an Ed25519 key, is a {type(key).__name__}")
    return key
