"""Settles calls in PostgreSQL, and reads what is settled."""

from collections.abc import Sequence

import psycopg
import psycopg.errors

from router.adapters.postgres.pool import Pool, fetch
from router.contracts.record import UsageRecord, decode_record, encode_records
from router.domain.errors import LedgerUnavailable
from router.ports.books import BudgetState, Spending
from router.ports.records import RecordRejected

SETTLE_S = 20.0
"""The longest wait for a settlement."""

# From the daily rollups, whose days are in UTC.
SPENT_SQL = """
SELECT coalesce(sum(charge_nano), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.day), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.week), 0)::bigint,
       coalesce(sum(charge_nano) FILTER (WHERE starts_at >= since.month), 0)::bigint
FROM usage_rollup,
     (SELECT date_trunc('day', now(), 'UTC') AS day, date_trunc('week', now(), 'UTC') AS week,
             date_trunc('month', now(), 'UTC') AS month) AS since
WHERE span = 'day' AND organisation_id = %s AND (%s::bigint IS NULL OR key_id = %s)
"""
BUDGET_SQL = """
SELECT limit_nano,
       CASE WHEN "window" <> 'ever' AND window_starts_at < date_trunc("window", now(), 'UTC')
            THEN 0 ELSE spent_nano END,
       "window"
FROM billing_budget WHERE id = %s
"""
CALL_SQL = """
SELECT (to_jsonb(call) || jsonb_build_object(
    'created_at_ms', floor(extract(epoch FROM call.created_at) * 1000)::bigint,
    'lease_id', coalesce(call.lease_id::text, '')))::text
FROM usage_event AS call WHERE request_id = %s
"""

REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException)
"""The record is at fault. Other errors (a missing right, a read-only standby) can be put right."""


class PostgresLedger:
    """Books and a record sink."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def posted_nano(self, account_id: int) -> int:
        row = await fetch(
            self._pool, "SELECT posted_nano FROM billing_account WHERE id = %s", (account_id,)
        )
        return row[0] if row is not None else 0

    async def budget(self, budget_id: int) -> BudgetState | None:
        row = await fetch(self._pool, BUDGET_SQL, (budget_id,))
        return BudgetState(*row) if row is not None else None

    async def spent(self, organisation_id: int, key_id: int | None) -> Spending:
        row = await fetch(self._pool, SPENT_SQL, (organisation_id, key_id, key_id))
        return Spending(*row) if row is not None else Spending()

    async def call(self, request_id: str) -> UsageRecord | None:
        row = await fetch(self._pool, CALL_SQL, (request_id,))
        return decode_record(row[0]) if row is not None else None

    async def settle(self, records: Sequence[UsageRecord]) -> None:
        body = encode_records(records).decode()
        sql = "SELECT count(*) FROM billing_settle(%s::jsonb)"
        try:
            await fetch(self._pool, sql, (body,), answer_s=SETTLE_S)
        except LedgerUnavailable as error:
            if isinstance(error.__cause__, REFUSALS):
                raise RecordRejected(str(error.__cause__)) from error
            raise
