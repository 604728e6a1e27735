"""Routers meet, and lease slots of workers."""

from collections.abc import Mapping

import msgspec

from router.adapters.postgres.pool import Pool, fetch
from router.contracts.word import SILENT, Word
from router.domain.errors import LedgerUnavailable
from router.ports.cluster import Beat, Member, SlotClaim


class PostgresCluster:
    """The meeting place of an installation's routers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def beat(
        self,
        me: Member,
        ttl_s: float,
        demands: Mapping[str, float],
        claims: Mapping[str, SlotClaim],
        word: Word = SILENT,
    ) -> Beat:
        row = await fetch(
            self._pool,
            "SELECT routing_beat(%s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb)::text",
            (
                me.router_id,
                me.url,
                ttl_s,
                msgspec.json.encode(demands).decode(),
                msgspec.json.encode(claims).decode(),
                msgspec.json.encode(word).decode(),
            ),
        )
        if row is None:
            raise LedgerUnavailable("the cluster's tables gave no answer")
        return msgspec.json.decode(row[0], type=Beat)

    async def leave(self, router_id: str) -> None:
        await fetch(self._pool, "SELECT routing_leave(%s)", (router_id,))
