"""Provider credentials at rest: sealed with AES-256-GCM, each bound to the row it belongs to.

The master key is 32 random bytes, base64, in a file that only the owner can read, or in
``TOKENHUB_MASTER_KEY``. Every use has a key of its own, made from it: a check value in the
database tells a wrong key before anything is done with it. ``cryptography`` takes 40 ms to
load, so only the commands that seal or open pay for it.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tokenhub.errors import SetupError
from tokenhub.paths import Home, make_folder, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ENVIRONMENT = "TOKENHUB_MASTER_KEY"
KEY_BYTES = 32
FORMAT = b"\x01"
"""First byte of what is sealed: which cipher and layout follow (nonce, then ciphertext and tag)."""
_NONCE_BYTES = 12
_TAG_BYTES = 16
SEALED_EMPTY_BYTES = len(FORMAT) + _NONCE_BYTES + _TAG_BYTES
"""What an empty secret takes when it is sealed; every byte of a secret is one more."""


class Vault:
    """Seals and opens secrets with one master key."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        self._master_key = master_key

    def __repr__(self) -> str:
        return "Vault()"

    def derive(self, purpose: str) -> bytes:
        """Return the key for one purpose; keys of different purposes tell nothing of each other."""
        return hmac.digest(self._master_key, purpose.encode(), hashlib.sha256)

    def check_value(self, instance: str) -> bytes:
        """Return what the installation keeps, to know this key again."""
        return hmac.digest(self.derive("check"), instance.encode(), hashlib.sha256)

    def knows(self, instance: str, check_value: bytes) -> bool:
        """Whether this is the key that an installation was made with."""
        return hmac.compare_digest(self.check_value(instance), check_value)

    def seal(self, secret: str, binding: bytes) -> bytes:
        """Encrypt a secret for one place. The binding names it: only there can it be opened (T43)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return FORMAT + nonce + self._cipher().encrypt(nonce, secret.encode(), FORMAT + binding)

    def open(self, sealed: bytes, binding: bytes) -> str:
        """Decrypt a secret; SetupError, naming the place, when it was changed, moved, or sealed with another key."""
        from cryptography.exceptions import InvalidTag

        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != FORMAT or len(text) < _TAG_BYTES:
                raise InvalidTag
            return self._cipher().decrypt(nonce, text, FORMAT + binding).decode()
        except InvalidTag:
            place = binding.decode("utf-8", "backslashreplace")
            raise SetupError(
                f"the stored secret of {place} cannot be opened: it was changed, moved from another row, or sealed with "
                "another master key. Give it anew with: tokenhub credentials rotate ID"
            ) from None

    def _cipher(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.derive("credentials"))


def load_master_key(home: Home, *, create: bool = False, environment: Mapping[str, str] = os.environ) -> bytes:
    """Return the master key: from the environment, else from the home's file, which ``create`` makes if it is missing."""
    if text := environment.get(ENVIRONMENT):
        return _decoded(text, ENVIRONMENT)
    path = home.master_key
    if create and not path.exists():
        make_folder(home.path)
        write_private(path, encoded(secrets.token_bytes(KEY_BYTES)), replace=False)
    if not path.exists():
        raise SetupError(
            f"the master key {path} is missing, so stored credentials cannot be opened. Restore it from where you keep it, or set {ENVIRONMENT}; if it is lost: tokenhub rekey --lost"
        )
    return read_master_key(path)


def encoded(master_key: bytes) -> bytes:
    """Return a master key as its file holds it."""
    return base64.b64encode(master_key) + b"\n"


def read_master_key(path: Path, *, is_kept: bool = True) -> bytes:
    """Return the master key that a file holds; SetupError where it is missing, or none, or (``is_kept`` there) open to others."""
    try:
        mode, data = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise SetupError(f"the master key {path} cannot be read: {error.strerror}", see_to="master key") from None
    if is_kept and mode & 0o077:
        raise SetupError(
            f"the master key {path} is open to others (mode {mode & 0o777:o}). Run: chmod 600 {shlex.quote(str(path))}"
        )
    return _decoded(data.decode("ascii", "replace"), str(path))


def _decoded(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SetupError(
            f"{source} is not a master key: {KEY_BYTES} bytes in base64, as made by: openssl rand -base64 {KEY_BYTES}",
            see_to="master key",
        )
    return key
