"""``python -m tests.bench.settlement``: how many calls a second one writer settles.

``billing_settle`` takes batches of 500 records over one connection, as a router's settler does, on
a PostgreSQL that waits for the disk at each commit. The records are those of many organisations,
keys and models, so that few share a row of a rollup; every call is charged. The books are proven
at the end.
"""

import argparse
import random
import statistics
import sys
import time
from dataclasses import dataclass

import msgspec
import psycopg

from router.contracts.record import AttemptRecord, CandidateRecord, UsageRecord
from router.domain.ids import uuid7
from tests.bench.database import cpu_s, migrated_database

ORGANISATIONS = 100
KEYS_EACH = 5
PROVIDERS = 200
MODELS = 2_000
MODELS_A_KEY = 4
CREDIT_NANO = 10**15
CHARGE_NANO = 12_345
WARM_UP_BATCHES = 10
FUNCTIONS = 8

SETTLE_SQL = "SELECT count(*) FROM billing_settle(%s::jsonb)"
OPEN_SQL = """
WITH organisation AS (
  INSERT INTO accounts_organisation (slug, name, created_at)
  SELECT 'bench-' || i, 'Bench ' || i, now() FROM generate_series(1, %(organisations)s) AS i
  RETURNING id
), provider AS (
  INSERT INTO catalog_provider
    (slug, name, description, website, commission_bps, emulated, created_at)
  SELECT 'bench-' || i, 'Bench ' || i, '', '', 1000, true, now()
  FROM generate_series(1, %(providers)s) AS i
  RETURNING id
)
INSERT INTO billing_account (kind, currency, organisation_id, provider_id)
SELECT 'customer', 'USD', id, NULL FROM organisation
UNION ALL SELECT 'provider', 'USD', NULL, id FROM provider
"""
FUNCTIONS_SQL = """
SELECT funcname, self_time FROM pg_stat_user_functions, pg_stat_force_next_flush()
ORDER BY self_time DESC LIMIT %s
"""
LEASE_SQL = """
SELECT a.organisation_id, a.id, lease_id::text
FROM billing_account AS a,
     -- Of each account its own.
     LATERAL (SELECT gen_random_uuid() AS lease_id WHERE a.id > 0) AS minted,
     billing_transfer_post(
       (SELECT id FROM billing_account WHERE kind = 'grants'), a.id, %(credit)s,
       'bench:' || a.id, 'grant'),
     billing_lease_take(lease_id, 'bench', '', a.id, '{}', %(credit)s, %(credit)s, 86400) AS l
WHERE a.kind = 'customer'
"""
CAUSE_SQL = """
INSERT INTO billing_systemorder (transfer_id, rule, reason)
SELECT id, 'system: a measurement', 'Credit to spend.' FROM billing_transfer WHERE kind = 'grant'
"""


@dataclass(frozen=True, slots=True)
class Payer:
    """An organisation with an open lease on all of its credit."""

    organisation_id: int
    account_id: int
    lease_id: str


def main() -> int:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args()
    with migrated_database() as url, psycopg.connect(url, autocommit=True) as connection:
        sizes = {"organisations": ORGANISATIONS, "providers": PROVIDERS, "credit": CREDIT_NANO}
        connection.execute(OPEN_SQL, sizes)
        payers = [Payer(*row) for row in connection.execute(LEASE_SQL, sizes)]
        earners = connection.execute("SELECT id FROM billing_account WHERE kind = 'provider'")
        load = Load(payers, [row[0] for row in earners])
        batches = WARM_UP_BATCHES + options.events // options.batch
        bodies = [load.body(options.batch) for _ in range(batches)]
        connection.execute(CAUSE_SQL)
        connection.execute("SET track_functions = 'all'")
        for body in bodies[:WARM_UP_BATCHES]:
            _timed(connection, body)
        before_s = cpu_s(connection.info.backend_pid)
        spent_s = [_timed(connection, body) for body in bodies[WARM_UP_BATCHES:]]
        busy_s = cpu_s(connection.info.backend_pid) - before_s
        rate = options.batch * len(spent_s) / sum(spent_s)
        print(
            f"{rate:,.0f} calls/s settled in batches of {options.batch} by one writer "
            f"(batch: median {1e3 * statistics.median(spent_s):.1f} ms, "
            f"longest {1e3 * max(spent_s):.1f} ms, "
            f"CPU of its backend {1e3 * busy_s / len(spent_s):.1f} ms; {len(spent_s)} batches)"
        )
        connection.execute("SELECT pg_stat_force_next_flush()")
        for name, self_ms in connection.execute(FUNCTIONS_SQL, [FUNCTIONS]):
            print(f"{self_ms / batches:6.1f} ms a batch in {name}")
        return _prove()


class Load:
    """Calls as they come: popular keys and models more often than others."""

    def __init__(self, payers: list[Payer], provider_account_ids: list[int]) -> None:
        self._random = random.Random(1)
        self._payers = payers
        self._earners = provider_account_ids
        self._made = 0

    def body(self, records: int) -> str:
        """One batch as the settler sends it."""
        return msgspec.json.encode([self._record() for _ in range(records)]).decode()

    def _record(self) -> UsageRecord:
        draw = self._random
        self._made += 1
        payer = self._payers[int(len(self._payers) * draw.random() ** 2)]
        key = payer.organisation_id * KEYS_EACH + draw.randrange(KEYS_EACH)
        model = (key * MODELS_A_KEY + draw.randrange(MODELS_A_KEY)) % MODELS
        now_ms = time.time_ns() // 1_000_000
        ttft_ms, total_ms = draw.lognormvariate(5, 0.6), draw.lognormvariate(7, 0.7)
        candidate = CandidateRecord(model, f"w{model}", "pool", "chosen", 0.0, total_ms, 0.1)
        return UsageRecord(
            request_id=uuid7(now_ms, draw.getrandbits(74)),
            router_id="bench",
            lease_id=payer.lease_id,
            account_id=payer.account_id,
            organisation_id=payer.organisation_id,
            key_id=key,
            model=f"bench/model-{model}",
            kind="chat",
            outcome="completed",
            http_status=200,
            streamed=True,
            created_at_ms=now_ms,
            deployment_id=model,
            price_id=model,
            worker_id=f"w{model}",
            pool="pool",
            provider_account_id=self._earners[model % len(self._earners)],
            hold_nano=2 * CHARGE_NANO,
            charge_nano=CHARGE_NANO,
            commission_nano=CHARGE_NANO // 10,
            prompt_tokens=draw.randrange(1, 4_000),
            completion_tokens=draw.randrange(1, 800),
            ttft_ms=ttft_ms,
            upstream_ms=total_ms,
            total_ms=ttft_ms + total_ms,
            finish_reason="stop",
            attempts=(AttemptRecord(model, f"w{model}", "pool", "completed", 0.0, total_ms),),
            candidates=(candidate, candidate, candidate),
        )


def _timed(connection: psycopg.Connection, body: str) -> float:
    begun = time.perf_counter()
    connection.execute(SETTLE_SQL, [body])
    return time.perf_counter() - begun


def _prove() -> int:
    import django

    django.setup()
    from marketplace.billing.proof.ledger import ledger_proof

    gaps = ledger_proof().gaps
    print("\n".join(gaps) or "The books were proven afterwards: no gap.")
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
