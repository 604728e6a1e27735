"""Proves that balances follow from the transfers, and transfers from their causes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from marketplace.billing.budgets.proof import BUDGET_PROOFS
from marketplace.billing.invoices.proof import STATEMENT_PROOFS
from marketplace.billing.models import ReconciliationReport, Seal
from marketplace.billing.payments.books.proofs import PAYMENT_PROOFS
from marketplace.billing.proof.causes import CAUSE_PROOFS
from marketplace.billing.seals.proof import chain_gaps, last_seal_gaps
from marketplace.usage.selectors import calls_kept_since

# A router extends leases in use and closes others. A live router may keep an expired lease while
# one of its streams runs.
_LEASES_LEFT = """
SELECT 'router ' || l.router_id || ' left '
       || sum(l.amount_nano - l.spent_nano) || ' nano leased, expired since '
       || to_char(min(l.expires_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
       || ': start router ' || l.router_id || ' again, or write it off '
       || '(manage.py ledger write-off ' || l.router_id || ' --reason …)'
FROM billing_lease l
LEFT JOIN routing_router r ON r.router_id = l.router_id AND r.expires_at > clock_timestamp()
WHERE l.state = 'open'
  AND l.expires_at < clock_timestamp()
      - CASE WHEN r.router_id IS NULL THEN interval '5 minutes' ELSE interval '1 hour' END
GROUP BY l.router_id
"""
# Each finds one kind of gap and returns texts.
_PROOFS = (
    # All balances of a currency sum to zero.
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
        SELECT account_id AS id, amount_nano AS amount FROM billing_sealedsum WHERE %(sealed)s > 0
        UNION ALL SELECT credit_id, amount_nano FROM billing_transfer WHERE id > %(sealed)s
        UNION ALL SELECT debit_id, -amount_nano FROM billing_transfer WHERE id > %(sealed)s
      ) side GROUP BY id) m
    ON m.id = a.id WHERE a.posted_nano <> coalesce(m.posted, 0)
    """,
    # An account's held amount is the rest of its open leases.
    """
    SELECT 'account ' || a.id || ' holds ' || a.held_nano || ' nano, its open leases have '
           || coalesce(l.rest, 0) || ' left'
    FROM billing_account a LEFT JOIN (
      SELECT account_id, sum(amount_nano - spent_nano) AS rest
      FROM billing_lease WHERE state = 'open' GROUP BY account_id) l
    ON l.account_id = a.id WHERE a.held_nano <> coalesce(l.rest, 0)
    """,
    *BUDGET_PROOFS,
    _LEASES_LEFT,
    # Every charged call names its transfers, which sum to its charge; there is no charge without a
    # call. They go from its payer to its provider and to the platform.
    """
    SELECT CASE
      WHEN coalesce(e.charge_nano, 0) <> coalesce(t.amount, 0)
        THEN 'call ' || coalesce(e.request_id, t.request_id) || ' charged '
             || coalesce(e.charge_nano, 0) || ' nano, its transfers sum to '
             || coalesce(t.amount, 0) || coalesce(' (' || t.named || ')', '')
      ELSE 'call ' || e.request_id || ' is charged by transfers of other parties or parts: '
           || t.named END
    FROM (SELECT request_id, charge_nano, commission_nano, account_id, provider_account_id
          FROM usage_event
          WHERE charge_nano > 0 AND request_id >= usage_uuid7_floor(%(since)s)) e
    FULL JOIN (
      SELECT request_id, sum(amount_nano) AS amount,
             coalesce(sum(amount_nano) FILTER (WHERE kind = 'charge_commission'), 0) AS commission,
             min(debit_id) AS payer, max(debit_id) AS last_payer,
             min(credit_id) FILTER (WHERE kind = 'charge_provider') AS provider,
             max(credit_id) FILTER (WHERE kind = 'charge_provider') AS last_provider,
             min(credit_id) FILTER (WHERE kind = 'charge_commission') AS platform,
             max(credit_id) FILTER (WHERE kind = 'charge_commission') AS last_platform,
             string_agg('transfer ' || id || ' (' || kind || ', ' || amount_nano || ' nano)', ', '
                        ORDER BY id) AS named
      FROM billing_transfer
      WHERE kind IN ('charge_provider', 'charge_commission')
        AND request_id >= usage_uuid7_floor(%(since)s)
      GROUP BY request_id) t
    ON t.request_id = e.request_id
    CROSS JOIN (SELECT max(id) AS id FROM billing_account WHERE kind = 'commission') AS commission
    WHERE coalesce(e.charge_nano, 0) <> coalesce(t.amount, 0)
      OR (e.commission_nano, e.account_id, e.account_id)
         IS DISTINCT FROM (t.commission, t.payer, t.last_payer)
      OR t.provider <> e.provider_account_id OR t.last_provider <> e.provider_account_id
      OR t.platform <> commission.id OR t.last_platform <> commission.id
    """,
    # An hour's rollups are sums of its calls; histograms are compared by a checksum.
    """
    SELECT 'rollup of ' || coalesce(e.model, r.model) || ', organisation '
           || coalesce(e.organisation_id, r.organisation_id) || ', hour '
           || to_char(coalesce(e.starts_at, r.starts_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
           || ' counts ' || coalesce(r.calls, 0) || ' calls and ' || coalesce(r.charge_nano, 0)
           || ' nano, its calls are ' || coalesce(e.calls, 0) || ' and '
           || coalesce(e.charge_nano, 0)
    FROM (
      SELECT organisation_id, date_trunc('hour', created_at, 'UTC') AS starts_at, key_id, user_id,
             model, deployment_id, outcome, count(*) AS calls,
             sum(charge_nano)::bigint AS charge_nano, sum(commission_nano) AS commission_nano,
             sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
             sum(completion_tokens) AS completion_tokens,
             sum(reasoning_tokens) AS reasoning_tokens, sum(rows) AS rows, sum(images) AS images,
             coalesce(sum(usage_bucket(ttft_ms) + 1) FILTER (WHERE ttft_ms > 0 AND streamed), 0)
             + coalesce(sum(usage_bucket(total_ms) + 1) FILTER (WHERE total_ms > 0), 0) AS buckets
      FROM usage_event WHERE request_id >= usage_uuid7_floor(%(since)s)
      GROUP BY 1, 2, 3, 4, 5, 6, 7) e
    FULL JOIN (
      SELECT *, (SELECT coalesce(sum(((cell >> 32) + 1) * (cell & 4294967295)), 0)
                 FROM unnest(ttft_cells || total_cells) AS cell) AS buckets
      FROM usage_rollup WHERE span = 'hour' AND starts_at >= %(since)s) r
    USING (organisation_id, starts_at, key_id, user_id, model, deployment_id, outcome)
    WHERE (e.calls, e.charge_nano, e.commission_nano, e.prompt_tokens, e.cached_tokens,
           e.completion_tokens, e.reasoning_tokens, e.rows, e.images, e.buckets)
          IS DISTINCT FROM
          (r.calls, r.charge_nano, r.commission_nano, r.prompt_tokens, r.cached_tokens,
           r.completion_tokens, r.reasoning_tokens, r.rows, r.images, r.buckets)
    """,
    # A day's rollups are sums of its hours.
    """
    SELECT 'rollups of ' || model || ', organisation ' || organisation_id || ', differ between '
           || to_char(date_trunc('day', starts_at, 'UTC') AT TIME ZONE 'UTC', 'YYYY-MM-DD')
           || ' and its hours'
    FROM (SELECT *, CASE span WHEN 'day' THEN 1 ELSE -1 END AS sign
          FROM usage_rollup WHERE starts_at >= %(since)s) side
    GROUP BY organisation_id, date_trunc('day', starts_at, 'UTC'),
             key_id, user_id, model, deployment_id, outcome
    HAVING (sum(sign * calls), sum(sign * charge_nano), sum(sign * commission_nano))
           <> (0, 0, 0)
    """,
    # A day's rollups by caller are sums over deployments and outcomes.
    """
    SELECT 'rollups of ' || model || ', organisation ' || organisation_id || ', differ between '
           || to_char(starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') || ' and that day of its callers'
    FROM (
      SELECT organisation_id, starts_at, key_id, user_id, model, 1 AS sign, calls,
             CASE outcome WHEN 'completed' THEN 0 ELSE calls END AS failed, charge_nano,
             prompt_tokens + cached_tokens AS tokens_in,
             completion_tokens + reasoning_tokens AS tokens_out,
             CASE outcome WHEN 'completed' THEN ttft_cells || total_cells END AS cells
      FROM usage_rollup WHERE span = 'day' AND starts_at >= %(since)s
      UNION ALL
      SELECT organisation_id, starts_at, key_id, user_id, model, -1, calls, failed, charge_nano,
             tokens_in, tokens_out, ttft_cells || total_cells
      FROM usage_caller_rollup WHERE starts_at >= %(since)s) side,
    LATERAL (SELECT coalesce(sum(((cell >> 32) + 1) * (cell & 4294967295)), 0) AS buckets
             FROM unnest(cells) AS cell) latencies
    GROUP BY organisation_id, starts_at, key_id, user_id, model
    HAVING (sum(sign * calls), sum(sign * failed), sum(sign * charge_nano),
            sum(sign * tokens_in), sum(sign * tokens_out), sum(sign * buckets))
           <> (0, 0, 0, 0, 0, 0)
    """,
    # Calls in the default partition are slow to find: months are created too late, or clocks are
    # wrong.
    """
    SELECT 'the default partition of usage_event holds ' || count(*) || ' calls'
    FROM usage_event_default HAVING count(*) > 0
    """,
    *CAUSE_PROOFS,
    *STATEMENT_PROOFS,
    *PAYMENT_PROOFS,
)
_COUNTS = """
SELECT (SELECT count(*) FROM billing_transfer WHERE id > %(sealed)s)
       + (SELECT coalesce(sum(transfers), 0)::bigint FROM billing_seal
          WHERE through <= %(sealed)s),
       (SELECT count(*) FROM billing_account)
"""
GAPS_MAX = 100
"""Gaps of each kind to list at most."""


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """The result of a proof; ``gaps`` has a text for each error, so [] means correct books."""

    transfers: int
    accounts: int
    gaps: tuple[str, ...]


@transaction.atomic
def ledger_proof(*, recent_only: bool = False, routers_stopped: bool = False) -> LedgerProof:
    """Recompute every balance from the transfers, one query for each kind of gap.

    Calls that are kept are compared with their transfers and rollups, and each seal with the
    transfers under it. With ``recent_only`` balances are recomputed from the last seal on, and
    calls are those of today and yesterday (UTC). With ``routers_stopped`` leases past their end are
    no gap: their routers close them as they start.
    """
    gaps: list[str] = []
    kept = calls_kept_since()
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_seals_hold()")
        last = Seal.objects.first()
        if last is not None:
            gaps += last_seal_gaps(last)
            if not recent_only:
                gaps += chain_gaps()
        sealed = last.through if last is not None and recent_only else 0
        since = max(kept, _yesterday()) if recent_only else kept
        bounds: dict[str, datetime | int] = {"since": since, "kept": kept, "sealed": sealed}
        # Under READ COMMITTED each query sees one snapshot, so settlement may continue.
        for proof in _PROOFS:
            if proof is _LEASES_LEFT and routers_stopped:
                continue
            cursor.execute(f"SELECT * FROM ({proof}) gap LIMIT {GAPS_MAX}", bounds)  # noqa: S608
            gaps.extend(str(row[0]) for row in cursor.fetchall())
        cursor.execute(_COUNTS, bounds)
        ((transfers, accounts),) = cursor.fetchall()
    return LedgerProof(transfers=transfers, accounts=accounts, gaps=tuple(gaps))


def _yesterday() -> datetime:
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1)


def gaps_known() -> list[str]:
    """Of the last proof, and of the last from the beginning: no other finds what that one does."""
    reports = (
        ReconciliationReport.objects.first(),
        ReconciliationReport.objects.filter(whole=True).first(),
    )
    return list(dict.fromkeys(gap for report in reports if report for gap in report.gaps))
