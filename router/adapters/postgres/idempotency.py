"""Answers kept for whoever asks again."""

import msgspec

from router.adapters.postgres.pool import Pool, fetch
from router.domain.errors import LedgerUnavailable
from router.ports.idempotency import Claim, Claimant, ClaimState, KeptAnswer

ENDED = "\nended"
"""The end of a token whose call was asked to end: it is not renewed then."""


class PostgresIdempotencyStore:
    """Answers that every router of the installation can give again.

    A claim's token begins with the router and its life, so that a router that starts again knows
    what was under way when it died.
    """

    def __init__(self, pool: Pool, *, router_id: str, life: str) -> None:
        self._pool = pool
        self._router = f"{router_id}\n"
        self._life = f"{router_id}\n{life}\n"

    async def forget_earlier(self) -> int:
        """Free the keys of calls that died with this router's earlier lives; says how many.

        Only for a router that is alone with its name: the others' calls may still run.
        """
        row = await fetch(
            self._pool,
            "WITH gone AS (DELETE FROM routing_idempotency WHERE status IS NULL "
            "AND starts_with(token, %s) AND NOT starts_with(token, %s) RETURNING 1) "
            "SELECT count(*) FROM gone",
            (self._router, self._life),
        )
        return int(row[0]) if row is not None else 0

    async def claim(self, claimant: Claimant, fingerprint: str, ttl_s: float) -> Claim:
        row = await fetch(
            self._pool,
            "SELECT state, status, headers::text, body "
            "FROM routing_idempotency_claim(%s, %s, %s, %s, %s)",
            (claimant.scope, claimant.key, self._token(claimant), fingerprint, ttl_s),
        )
        if row is None:
            raise LedgerUnavailable("the table of idempotency keys gave no answer")
        state = ClaimState(row[0])
        if state is not ClaimState.DONE:
            return Claim(state)
        headers = msgspec.json.decode(row[2], type=tuple[tuple[str, str], ...])
        return Claim(state, KeptAnswer(row[1], headers, bytes(row[3])))

    async def keep(self, claimant: Claimant, answer: KeptAnswer, ttl_s: float) -> None:
        await fetch(
            self._pool,
            "UPDATE routing_idempotency SET status = %s, headers = %s::jsonb, body = %s, "
            "expires_at = now() + make_interval(secs => %s) WHERE scope = %s AND key = %s "
            "AND token = ANY(%s) AND status IS NULL RETURNING 1",
            (
                answer.status,
                msgspec.json.encode(answer.headers).decode(),
                answer.body,
                ttl_s,
                claimant.scope,
                claimant.key,
                self._tokens(claimant),
            ),
        )

    async def forget(self, claimant: Claimant) -> None:
        await fetch(
            self._pool,
            "DELETE FROM routing_idempotency WHERE scope = %s AND key = %s AND token = ANY(%s) "
            "AND status IS NULL RETURNING 1",
            (claimant.scope, claimant.key, self._tokens(claimant)),
        )

    async def end(self, scope: str, key: str) -> bool:
        row = await fetch(
            self._pool,
            "UPDATE routing_idempotency SET token = "
            "CASE WHEN right(token, length(%s)) = %s THEN token ELSE token || %s END "
            "WHERE scope = %s AND key = %s AND status IS NULL AND expires_at > now() RETURNING 1",
            (ENDED, ENDED, ENDED, scope, key),
        )
        return row is not None

    async def is_ended(self, claimant: Claimant) -> bool:
        row = await fetch(
            self._pool,
            "SELECT 1 FROM routing_idempotency "
            "WHERE scope = %s AND key = %s AND token = %s AND status IS NULL",
            (claimant.scope, claimant.key, self._token(claimant) + ENDED),
        )
        return row is not None

    def _token(self, claimant: Claimant) -> str:
        return self._life + claimant.token

    def _tokens(self, claimant: Claimant) -> list[str]:
        """Its token, and what is there once it was asked to end."""
        token = self._token(claimant)
        return [token, token + ENDED]
