"""``python -m tests.bench.partitions``: what many partitions of ``usage_event`` cost, by size.

Makes empty tables like it with three years of months and of days, and prints what PostgreSQL
needs to plan and to run what is asked all the time, in milliseconds (medians).
"""

import statistics
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
from psycopg import sql

from tests.bench.database import migrated_database

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 3 * 365
REPEATS = 30
STEPS = {"months": timedelta(days=30), "days": timedelta(days=1)}
QUESTIONS = {
    "a call by its id": "SELECT * FROM {table} WHERE request_id = {late}",
    "the newest calls": (
        "SELECT * FROM {table} WHERE organisation_id = 1 ORDER BY request_id DESC LIMIT 51"
    ),
    "the newest calls of an hour": (
        "SELECT * FROM {table} WHERE organisation_id = 1 AND request_id >= {late} "
        "AND request_id < {later} ORDER BY request_id DESC LIMIT 51"
    ),
    "ninety days": (
        "SELECT count(*) FROM {table} WHERE organisation_id = 1 AND request_id >= {early} "
        "AND request_id < {late}"
    ),
}


def main() -> int:
    """Measure and print a table."""
    late = START + timedelta(days=DAYS - 40)
    moments = {
        "early": late - timedelta(days=90),
        "late": late,
        "later": late + timedelta(hours=1),
    }
    ids = {name: sql.Literal(_floor(at)) for name, at in moments.items()}
    print("| asked for | partitions | plan ms | run ms |\n|---|---|---|---|")
    with migrated_database() as url, psycopg.connect(url) as connection:
        for name, step in STEPS.items():
            _make(connection, name, step)
            for asked, text in QUESTIONS.items():
                question = sql.SQL(text).format(table=sql.Identifier(name), **ids)
                plans = [_explain(connection, question) for _ in range(REPEATS)]
                plan_ms, run_ms = (statistics.median(column) for column in zip(*plans, strict=True))
                print(
                    f"| {asked} | {timedelta(days=DAYS) // step} {name} "
                    f"| {plan_ms:.2f} | {run_ms:.2f} |"
                )
        connection.rollback()
    return 0


def _make(connection: psycopg.Connection, name: str, step: timedelta) -> None:
    table = sql.Identifier(name)
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (LIKE usage_event INCLUDING DEFAULTS, PRIMARY KEY (request_id)) "
            "PARTITION BY RANGE (request_id)"
        ).format(table)
    )
    connection.execute(
        sql.SQL("CREATE INDEX ON {} (organisation_id, request_id DESC)").format(table)
    )
    for i in range(timedelta(days=DAYS) // step):
        bounds = [sql.Literal(_floor(START + k * step)) for k in (i, i + 1)]
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(f"{name}_{i}"), table, *bounds
            )
        )


def _explain(connection: psycopg.Connection, question: sql.Composable) -> tuple[float, float]:
    cursor = connection.execute(sql.SQL("EXPLAIN (ANALYZE, FORMAT json) {}").format(question))
    ((plans,),) = cursor.fetchall()
    return plans[0]["Planning Time"], plans[0]["Execution Time"]


def _floor(at: datetime) -> UUID:
    return UUID(int=int(at.timestamp() * 1000) << 80)


if __name__ == "__main__":
    sys.exit(main())
