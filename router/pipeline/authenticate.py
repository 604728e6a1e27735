"""Credential → grant. The first step: nothing is spent on a call that may not be made."""

from msgspec import Struct

from router.domain.catalog import ApiKey
from router.domain.errors import CredentialInvalid, NotAllowed
from router.domain.keys import SESSION_PREFIX, digest_key, verify_session
from router.pipeline.routing_table import RoutingTable

INFERENCE_SCOPE = "inference"
BEARER = "bearer "
SEEN_MAX = 10_000


class Grant(Struct, frozen=True, gc=False):
    """Who calls and who pays. An empty ``models`` allows every model."""

    organisation_id: int
    account_id: int
    key_id: int = 0
    user_id: int = 0
    models: tuple[str, ...] = ()


def authenticate(table: RoutingTable, authorization: str, *, pepper: bytes, now_s: float) -> Grant:
    """Check an ``Authorization`` header. Raises ``CredentialInvalid`` or ``NotAllowed``."""
    if not authorization[: len(BEARER)].lower() == BEARER:
        raise CredentialInvalid(
            "no API key; send the header Authorization: Bearer <key>, with a key of the Keys page"
        )
    token = authorization[len(BEARER) :].strip()
    if token.startswith(SESSION_PREFIX):
        return _session_grant(token, pepper, now_s)
    key = table.seen.get(token) or _known_key(table, token, pepper)
    if key is None:
        raise CredentialInvalid("this API key is not known or was revoked; see the Keys page")
    if key.expires_at_s and now_s >= key.expires_at_s:
        raise CredentialInvalid("this API key has expired; make a new one on the Keys page")
    if INFERENCE_SCOPE not in key.scopes:
        raise NotAllowed(f"this API key lacks the scope {INFERENCE_SCOPE!r}")
    return Grant(key.organisation_id, key.account_id, key_id=key.id, models=key.models)


def _known_key(table: RoutingTable, token: str, pepper: bytes) -> ApiKey | None:
    key = table.keys.get(digest_key(token, pepper))
    if key is not None and len(table.seen) < SEEN_MAX:
        table.seen[token] = key
    return key


def _session_grant(token: str, pepper: bytes, now_s: float) -> Grant:
    claims = verify_session(token, pepper)
    if claims is None or now_s >= claims.expires_at_s:
        raise CredentialInvalid("this session has expired; reload the page")
    return Grant(claims.organisation_id, claims.account_id, user_id=claims.user_id)
