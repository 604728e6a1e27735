"""Secrets that must be read again are kept encrypted: a copy of the database reveals none.

Envelopes: each secret is encrypted (Fernet) under a key of its own, which is kept beside it,
encrypted under a key that is derived (HKDF-SHA256) from one of several. The first of these seals,
all of them open. A rotation seals the small key again and touches no secret.
"""

import base64
import contextlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEPARATOR = ":"
WHY_UNREADABLE = "sealed under none of the keys that are set, or damaged"
ENDPOINT_KEYS = "endpoint keys"
"""The purpose of the keys that organisations' own endpoints are called with."""


class Unreadable(ValueError):
    """It was sealed under a key that is not there, or for another purpose, or is damaged."""


class Vault:
    """Seals for one purpose under the first of ``keys``, and opens what any of them sealed."""

    def __init__(self, keys: Sequence[bytes], purpose: str) -> None:
        ciphers = [_cipher(key, purpose) for key in keys]
        self._first, self._all = ciphers[0], MultiFernet(ciphers)

    def seal(self, secret: str) -> str:
        """Encrypt a secret for the database."""
        own_key = Fernet.generate_key()
        wrapped = self._all.encrypt(own_key).decode()
        return wrapped + SEPARATOR + Fernet(own_key).encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret again. Raises :class:`Unreadable`."""
        wrapped, _, content = sealed.partition(SEPARATOR)
        try:
            inner = self._all.decrypt(wrapped.encode())
            # Before there were envelopes, the secret itself was encrypted.
            return (
                Fernet(inner).decrypt(content.encode()) if is_envelope(sealed) else inner
            ).decode()
        except (InvalidToken, ValueError) as error:
            raise Unreadable(WHY_UNREADABLE) from error

    def resealed(self, sealed: str) -> str:
        """The same under the first key; itself if it is already. Raises :class:`Unreadable`."""
        if not is_envelope(sealed):
            return self.seal(self.open(sealed))
        wrapped, _, content = sealed.partition(SEPARATOR)
        with contextlib.suppress(InvalidToken):
            self._first.decrypt(wrapped.encode())
            return sealed
        try:
            return self._all.rotate(wrapped.encode()).decode() + SEPARATOR + content
        except InvalidToken as error:
            raise Unreadable(WHY_UNREADABLE) from error


def is_envelope(text: str) -> bool:
    """Whether a :class:`Vault` of today sealed it, not one before envelopes, or none."""
    return SEPARATOR in text


def _cipher(key: bytes, purpose: str) -> Fernet:
    derived = HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(key)
    return Fernet(base64.urlsafe_b64encode(derived))
