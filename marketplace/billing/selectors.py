"""Reading the ledger: balances, and the proof that they follow from the transfers."""

from dataclasses import dataclass

from django.db import connection

# Each finds one kind of gap and returns text. All read one snapshot of the database.
_PROOFS = (
    # What stands on all accounts of a currency came from somewhere.
    """
    SELECT 'posted sum of ' || currency || ' is ' || sum(posted_nano) || ' nano, not 0'
    FROM billing_account GROUP BY currency HAVING sum(posted_nano) <> 0
    """,
    # Cached balances follow from the transfers alone.
    """
    SELECT 'account ' || a.id || ' caches ' || a.posted_nano || ' nano, its transfers sum to '
           || coalesce(m.posted, 0)
    FROM billing_account a LEFT JOIN (
      SELECT id, sum(amount) AS posted FROM (
        SELECT credit_id AS id, amount_nano AS amount FROM billing_transfer
        UNION ALL SELECT debit_id, -amount_nano FROM billing_transfer) side GROUP BY id) m
    ON m.id = a.id WHERE a.posted_nano <> coalesce(m.posted, 0)
    """,
    # What is held is what open leases have left.
    """
    SELECT 'account ' || a.id || ' holds ' || a.held_nano || ' nano, its open leases have '
           || coalesce(l.rest, 0) || ' left'
    FROM billing_account a LEFT JOIN (
      SELECT account_id, sum(amount_nano - spent_nano) AS rest
      FROM billing_lease WHERE state = 'open' GROUP BY account_id) l
    ON l.account_id = a.id WHERE a.held_nano <> coalesce(l.rest, 0)
    """,
    # Every charged call names its transfers, and they sum to its charge; no charge without a call.
    """
    SELECT 'call ' || coalesce(e.request_id, t.request_id) || ' charged '
           || coalesce(e.charge_nano, 0) || ' nano, its transfers sum to ' || coalesce(t.amount, 0)
    FROM (SELECT request_id, charge_nano FROM usage_event WHERE charge_nano > 0) e
    FULL JOIN (
      SELECT request_id, sum(amount_nano) AS amount FROM billing_transfer
      WHERE kind LIKE 'charge%' GROUP BY request_id) t
    ON t.request_id = e.request_id
    WHERE coalesce(e.charge_nano, 0) <> coalesce(t.amount, 0)
    """,
)
GAPS_MAX = 100
"""At most this many gaps of each kind are listed; one is bad enough."""


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """``gaps`` says in words what does not add up; it is empty when the books are right."""

    transfers: int
    accounts: int
    gaps: tuple[str, ...]


def ledger_proof() -> LedgerProof:
    """Recompute every balance from the transfers, in one statement per kind of gap."""
    gaps: list[str] = []
    with connection.cursor() as cursor:
        # One statement is one consistent view under READ COMMITTED: settling goes on meanwhile.
        for proof in _PROOFS:
            cursor.execute(f"SELECT * FROM ({proof}) gap LIMIT {GAPS_MAX}")  # noqa: S608
            gaps.extend(str(row[0]) for row in cursor.fetchall())
        cursor.execute(
            "SELECT (SELECT count(*) FROM billing_transfer), (SELECT count(*) FROM billing_account)"
        )
        transfers, accounts = cursor.fetchone() or (0, 0)
    return LedgerProof(transfers=transfers, accounts=accounts, gaps=tuple(gaps))
