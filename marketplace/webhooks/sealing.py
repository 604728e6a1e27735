"""Secrets that must be read again are kept encrypted: a copy of the database signs nothing.

The encryption's key is derived (HKDF-SHA256) from ``WAYPOST_KEY_PEPPER``, under which API keys are
stored too: changing it requires new keys and new secrets.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"webhook secrets"


class Unreadable(ValueError):
    """It was sealed under another pepper, or is damaged."""


def seal(secret: str, pepper: bytes) -> str:
    """Encrypt a secret for the database."""
    return _cipher(pepper).encrypt(secret.encode()).decode()


def unseal(sealed: str, pepper: bytes) -> str:
    """The secret again. Raises :class:`Unreadable`."""
    try:
        return _cipher(pepper).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Unreadable("sealed under another WAYPOST_KEY_PEPPER, or damaged") from error


def _cipher(pepper: bytes) -> Fernet:
    derived = HKDF(SHA256(), length=32, salt=None, info=PURPOSE).derive(pepper)
    return Fernet(base64.urlsafe_b64encode(derived))
