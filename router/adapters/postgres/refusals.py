"""Counts of refused calls."""

from collections.abc import Mapping

import msgspec

from router.adapters.postgres.pool import Pool, fetch
from router.ports.records import RefusalCount


class PostgresRefusals:
    """Counts refused calls, for pages."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_refusals(self, counted: Mapping[RefusalCount, int]) -> None:
        rows = [{**msgspec.structs.asdict(kind), "calls": n} for kind, n in counted.items()]
        body = msgspec.json.encode(rows).decode()
        await fetch(self._pool, "SELECT usage_refusals_add(%s::jsonb)", (body,))
