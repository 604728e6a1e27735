"""Counts of refused calls of several routers add up in PostgreSQL."""

import psycopg

from router.adapters.postgres.pool import open_pool
from router.adapters.postgres.refusals import PostgresRefusals
from router.ports.records import RefusalCount
from tests.databases import as_routers

HOUR_MS = 3_600_000


async def test_counts_of_several_routers_add_up(ledger_database: str) -> None:
    limited = RefusalCount(901, 5 * HOUR_MS, 3, 0, "a/m", "rate_limited")
    later = RefusalCount(901, 6 * HOUR_MS, 3, 0, "a/m", "rate_limited")
    pool = open_pool(as_routers(ledger_database))
    await pool.open()
    try:
        for counted in ({limited: 2, later: 1}, {limited: 5}):
            await PostgresRefusals(pool).add_refusals(counted)
    finally:
        await pool.close()
    with psycopg.connect(ledger_database) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM starts_at)::bigint, key_id, user_id, model, code, calls "
            "FROM usage_refusal WHERE organisation_id = 901 ORDER BY starts_at"
        ).fetchall()
    assert rows == [
        (5 * 3_600, 3, 0, "a/m", "rate_limited", 7),
        (6 * 3_600, 3, 0, "a/m", "rate_limited", 1),
    ]
