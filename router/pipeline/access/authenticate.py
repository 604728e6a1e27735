"""Credential → grant. The first step, so that nothing is spent on a call that may not be made."""

from router.domain.catalog import NO_LIMITS, ApiKey, Limit
from router.domain.errors import CredentialInvalid, NotAllowed
from router.domain.keys import SESSION_PREFIX, SessionClaims, digest_key, verify_session
from router.pipeline.plans.routing_table import Grant, RoutingTable

INFERENCE_SCOPE = "inference"
BEARER = "bearer "
SEEN_MAX = 10_000


def authenticate(table: RoutingTable, authorization: str, *, pepper: bytes, now_s: float) -> Grant:
    """Check an ``Authorization`` header. Raises ``CredentialInvalid`` or ``NotAllowed``."""
    if not authorization[: len(BEARER)].lower() == BEARER:
        raise CredentialInvalid(
            "no API key; send the header Authorization: Bearer <key>, with a key of the Keys page"
        )
    token = authorization[len(BEARER) :].strip()
    if token.startswith(SESSION_PREFIX):
        return _session_grant(table, token, pepper, now_s)
    return _unexpired(table.seen.get(token) or _token_grant(table, token, pepper), now_s)


def _unexpired(grant: Grant, now_s: float) -> Grant:
    if grant.expires_at_s and now_s >= grant.expires_at_s:
        raise CredentialInvalid("this API key has expired; make a new one on the Keys page")
    return grant


def _token_grant(table: RoutingTable, token: str, pepper: bytes) -> Grant:
    grant = _key_grant(table, table.keys.get(digest_key(token, pepper)))
    if len(table.seen) < SEEN_MAX:
        table.seen[token] = grant
    return grant


def _key_grant(table: RoutingTable, key: ApiKey | None, *, batch: bool = False) -> Grant:
    if key is None:
        raise CredentialInvalid("this API key is not known or was revoked; see the Keys page")
    if INFERENCE_SCOPE not in key.scopes:
        raise NotAllowed(f"this API key lacks the scope {INFERENCE_SCOPE!r}")
    return Grant(
        key.organisation_id,
        table.purse_of(key.organisation_id, key.account_id, user_id=key.user_id, key_id=key.id),
        key_id=key.id,
        models=key.models,
        limits=(*_limits_of(key), *table.limits_of(key.organisation_id)),
        rules=key.rules,
        masks=table.masks_of(key.organisation_id, key.masks),
        guards=table.guards_of(key.organisation_id, key.guard),
        expires_at_s=key.expires_at_s,
        batch=batch,
    )


def _limits_of(key: ApiKey) -> tuple[Limit, ...]:
    if key.limits == NO_LIMITS:
        return ()
    return (Limit(f"key:{key.id}", key.limits, "this API key is"),)


def _claimed_key(table: RoutingTable, claims: SessionClaims) -> ApiKey | None:
    """The key that a token speaks for. No organisation's token speaks for another one's key."""
    key = table.keys_by_id.get(claims.key_id)
    return key if key is not None and key.organisation_id == claims.organisation_id else None


def _session_grant(table: RoutingTable, token: str, pepper: bytes, now_s: float) -> Grant:
    claims = verify_session(token, pepper)
    if claims is None or now_s >= claims.expires_at_s:
        raise CredentialInvalid("this session has expired; reload the page")
    if claims.key_id:
        key = _claimed_key(table, claims)
        grant = _unexpired(_key_grant(table, key, batch=claims.batch), now_s)
        return grant.judging(claims.judges) if claims.judges else grant
    if any(ended.covers(claims) for ended in table.ended_sessions.get(claims.user_id, ())):
        raise CredentialInvalid("this session has ended; sign in again")
    grant = Grant(
        claims.organisation_id,
        table.purse_of(claims.organisation_id, claims.account_id, user_id=claims.user_id),
        user_id=claims.user_id,
        limits=table.limits_of(claims.organisation_id),
        masks=table.masks_of(claims.organisation_id),
        guards=table.guards_of(claims.organisation_id),
        batch=claims.batch,
    )
    return grant.judging(claims.judges) if claims.judges else grant
