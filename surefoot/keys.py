"""Ed25519 keys in PEM files, as ``openssl genpkey -algorithm ed25519`` writes them."""

from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from surefoot.artifact import os_errors, read_file, write_file
from surefoot.atomic import new_file
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


def write_key_pair(private: Path, public: Path) -> bool:
    """Write a new key pair, and return whether it is new.

    A private key that has no public half was written by a process that was killed then: it gets
    its public half and is left as it is.

    Args:
        private: File of the private key, readable by its owner alone.
        public: File of the public key.

    Raises:
        InputError: If either exists otherwise, or cannot be written.
    """
    if public.exists():
        raise InputError(f"{public} exists; a key is never overwritten")
    is_new = not private.exists()
    if is_new:
        with os_errors(f"cannot write {private}"), new_file(private, 0o600) as file:
            if private.exists():  # since this file is locked, no other process makes it
                raise InputError(f"{private} exists; a key is never overwritten")
            file.write(generate_key()[0])
    write_file(public, public_pem(read_private_key(private)))
    return is_new


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an unencrypted Ed25519 private key.

    Raises:
        InputError: If the file holds no such key.
    """
    data = read_file(path, max_bytes=_MAX_KEY_BYTES)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
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
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        raise InputError(f"{path} must be a public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} must be an Ed25519 key, is a {type(key).__name__}")
    return key
