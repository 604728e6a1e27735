"""``python -m tests.bench.proof``: how long the ledger's proof takes.

Calls lie in the last 90 days. They are proven from the beginning, sealed, and proven again from
the last seal, as the job of every five minutes does. Seconds are CPU time of PostgreSQL, without
parallel workers: on a busy machine they say more than the clock.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.database import cpu_s, migrated_database

DAYS = 90
MODELS, PROVIDERS = 500, 50


def main() -> int:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proof", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    with migrated_database():
        import django

        django.setup()
        print(_line(options.calls))
        from django.db import connection

        connection.close_pool()
    return 0


def _line(calls: int) -> str:
    from django.db import connection

    from marketplace.billing.proof.ledger import ledger_proof
    from marketplace.billing.seals.services import transfers_seal
    from tests.bench.generate import history

    size = history.Size(calls, MODELS, PROVIDERS, DAYS)
    history.history_generate(size=size, progress=lambda _: None)
    history.history_vacuum()
    proof, whole_s = _timed(ledger_proof)
    sealed, sealing_s = _timed(lambda: transfers_seal(seals_max=10_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    again, recent_s = _timed(lambda: ledger_proof(recent_only=True))
    if proof.gaps or again.gaps or not proof.transfers == again.transfers == sealed:
        raise RuntimeError(f"the books do not balance: {(*proof.gaps, *again.gaps)[:3]}")
    return (
        f"{sealed:,d} transfers: {whole_s:.1f} s from the beginning, {recent_s:.1f} s from a seal "
        f"({sealing_s:.1f} s to seal them)"
    )


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
    before_s = cpu_s(pid)
    return run(), cpu_s(pid) - before_s


if __name__ == "__main__":
    sys.exit(main())
