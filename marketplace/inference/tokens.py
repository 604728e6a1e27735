"""Bearers with which a job calls the router on behalf of its requester."""

import time

from django.conf import settings

from marketplace.inference.callers import Caller, membership_that_calls
from router.domain.keys import SessionClaims, sign_session


class CallerGone(Exception):
    """A person may no longer call models for the organisation. The message is for people."""


def caller_token(caller: Caller, *, batch: bool = False) -> str:
    """A bearer for the router, good for ``SESSION_TOKEN_TTL_S``. Raises :class:`CallerGone`.

    It can do what the caller can now: the router applies a key's limits, budgets, expiry and
    revocation, and refuses a person's token when the membership or the account ends. A ``batch``
    pays the price of batches for what it calls at their priority.
    """
    if caller.user_id and not membership_that_calls(
        organisation_id=caller.organisation_id, user_id=caller.user_id
    ):
        raise CallerGone("Whoever asked for this may no longer call models for the organisation.")
    claims = SessionClaims(
        organisation_id=caller.organisation_id,
        account_id=caller.account_id,
        user_id=caller.user_id,
        expires_at_s=int(time.time()) + settings.SESSION_TOKEN_TTL_S,
        key_id=caller.key_id,
        batch=batch,
    )
    return sign_session(claims, settings.WAYPOST_KEY_PEPPER)
