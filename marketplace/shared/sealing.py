"""What is kept sealed here, and under which keys: see :mod:`router.contracts.sealing`.

Everything is under ``WAYPOST_SECRETS_KEYS``, but for the keys of organisations' own endpoints. The
routers open those, and nothing else, so that they are under ``WAYPOST_ENDPOINT_SECRETS_KEYS``. The
last key of both is ``WAYPOST_KEY_PEPPER``, which sealed before there were any.
"""

from enum import StrEnum

from django.conf import settings

from router.contracts.sealing import ENDPOINT_KEYS, Unreadable, Vault, is_envelope

__all__ = ["Purpose", "Unreadable", "Vault", "is_envelope", "vault"]


class Purpose(StrEnum):
    """What a secret is for: one sealed for another purpose does not open."""

    WEBHOOKS = "webhook secrets"
    SECOND_FACTORS = "second factors"
    ENDPOINTS = ENDPOINT_KEYS
    SHOWN_ONCE = "shown once"


def vault(purpose: Purpose) -> Vault:
    """The vault of this installation."""
    is_shared = purpose is Purpose.ENDPOINTS
    keys = settings.WAYPOST_ENDPOINT_SECRETS_KEYS if is_shared else settings.WAYPOST_SECRETS_KEYS
    return Vault([*keys, settings.WAYPOST_KEY_PEPPER], purpose)
