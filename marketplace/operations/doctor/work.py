"""Routers, job processes, what waits, and the books."""

from datetime import timedelta

import httpx
from django.conf import settings
from django.utils import timezone

from marketplace.billing.models import Lease, LeaseState, ReconciliationReport
from marketplace.billing.proof.ledger import gaps_known
from marketplace.operations.doctor.findings import Finding, bad, good, unknown
from marketplace.operations.selectors import (
    database_up_s,
    dead_letters_new,
    heartbeat_ages_s,
    jobs_counted,
    webhooks_waiting,
)
from marketplace.routing.topology.contracts import RouterState
from marketplace.routing.topology.polling import (
    ROUTERS_MAX,
    TIMEOUT_S,
    Member,
    Unheard,
    members_known,
    state_fetch,
)
from marketplace.shared.jobs.periodic import Queue

SNAPSHOT_AGE_MAX_S = 60.0
UNSETTLED_MAX = 10_000
SILENT_AFTER_S = {Queue.CONTROL: 180.0, Queue.CALLS: 180.0, Queue.WORK: 900.0}
"""As the alerts have it. Long jobs may fill the queue work."""
START_S_MAX = 120.0
"""While the database was away nobody could be heard, and processes start when it is there."""
PREDICTION_WAITS_MAX_S = 300.0
WEBHOOK_LATE_MAX_S = 300.0
PROOF_AGE_MAX_S = 900.0
WHOLE_PROOF_AGE_MAX = timedelta(hours=50)
RUNBOOKS = "docs/how-to/runbooks"
PREDICTIONS = "predictions.prediction"


def router_answers() -> list[Finding]:
    """The address that customers call is ready."""
    url = f"{settings.WAYPOST_ROUTER_URL}/readyz"
    response = httpx.get(url, timeout=TIMEOUT_S, trust_env=False)
    if response.status_code != httpx.codes.OK:
        text = f"{url} answers {response.status_code}: {response.text[:120].strip()}"
        return [bad("router", text, f"{RUNBOOKS}/router.md#routerdown")]
    return [good("router", f"{settings.WAYPOST_ROUTER_URL} is ready")]


def routers() -> list[Finding]:
    """Each router that is a member answers, with the newest catalog."""
    members = members_known()[:ROUTERS_MAX]
    if not members:
        return [bad("routers", "none is a member", "start one; it becomes one by itself")]
    heard = [(member, _heard(member)) for member in members]
    newest = max((s.snapshot_version for _, s in heard if isinstance(s, RouterState)), default=0)
    return [_of_router(member, state, newest) for member, state in heard]


def _heard(member: Member) -> RouterState | str:
    try:
        return state_fetch(member)
    except Unheard as error:
        return str(error)


def _of_router(member: Member, state: RouterState | str, newest: int) -> Finding:
    name = f"router {member.router_id}"
    if isinstance(state, str):
        advice = f"start it again with its journal: {RUNBOOKS}/router.md#routerdown"
        return bad(name, f"{member.url}: {state}", advice)
    if state.snapshot_age_s > SNAPSHOT_AGE_MAX_S:
        text = f"its catalog was last confirmed {state.snapshot_age_s:.0f} s ago"
        return bad(name, text, f"can it reach the database? {RUNBOOKS}/router.md#snapshotold")
    if state.snapshot_version < newest:
        text = f"it has catalog {state.snapshot_version}, others {newest}"
        return bad(name, text, f"see its log: {RUNBOOKS}/router.md#routerbehind")
    if state.unsettled > UNSETTLED_MAX:
        text = f"{state.unsettled} finished calls wait for the ledger"
        return bad(name, text, f"{RUNBOOKS}/money.md#callsunsettled")
    doing = "draining" if state.draining else f"{state.waiting} calls wait"
    return good(name, f"catalog {state.snapshot_version}, {doing}, {state.unsettled} unsettled")


def queues() -> list[Finding]:
    """Each queue was worked on lately, or has not had the time since a start."""
    ages_s, starts = heartbeat_ages_s(), _starts()
    silent = [queue for queue in Queue if ages_s.get(queue, 1e9) > SILENT_AFTER_S[queue]]
    if len(silent) == len(Queue) and not starts:
        text = "none is worked on: the clock (beat), the broker or all job processes are down"
        return [bad("queues", text, f"{RUNBOOKS}/jobs.md#clocksilent")]
    return [
        unknown(f"queue {queue}", f"not yet heard: {starts}")
        if queue in silent and starts
        else _of_queue(queue, ages_s.get(queue), is_silent=queue in silent)
        for queue in Queue
    ]


def _starts() -> str:
    """Why work may not have been done yet; nothing once that is no excuse."""
    up_s = database_up_s()
    return f"the database has been up for {up_s:.0f} s" if up_s < START_S_MAX else ""


def _of_queue(queue: Queue, age_s: float | None, *, is_silent: bool) -> Finding:
    name = f"queue {queue}"
    text = "nobody ever worked on it" if age_s is None else f"last worked on {age_s:.0f} s ago"
    if is_silent:
        advice = f"start its job processes, or give it more: {RUNBOOKS}/jobs.md#queuesilent"
        return bad(name, text, advice)
    return good(name, text)


def jobs() -> list[Finding]:
    """None is lost, and no caller waits for one that nobody begins."""
    counted = list(jobs_counted())
    found = [
        bad("jobs", f"{c.lost} of {c.kind} lost their process", f"{RUNBOOKS}/jobs.md#jobslost")
        for c in counted
        if c.lost
    ]
    found += [
        bad(
            "jobs",
            f"a prediction has waited for {c.waiting_s:.0f} s",
            f"{RUNBOOKS}/jobs.md#predictionswait",
        )
        for c in counted
        if c.kind == PREDICTIONS and c.waiting_s > PREDICTION_WAITS_MAX_S
    ]
    queued, running = sum(c.queued for c in counted), sum(c.running for c in counted)
    return found or [good("jobs", f"{queued} queued, {running} running")]


def dead_letters() -> list[Finding]:
    """Nobody has to look at one."""
    if new := dead_letters_new():
        text = f"{new} of the last day were not sent again"
        return [bad("dead letters", text, f"see /dead-letters: {RUNBOOKS}/jobs.md#deadletters")]
    return [good("dead letters", "none to look at")]


def webhooks() -> list[Finding]:
    """What is due is sent."""
    due, late_s = webhooks_waiting()
    text = f"{due} due, the oldest for {late_s:.0f} s"
    if late_s > WEBHOOK_LATE_MAX_S:
        return [bad("webhooks", text, f"{RUNBOOKS}/jobs.md#webhookslate")]
    return [good("webhooks", text)]


def books() -> list[Finding]:
    """They were proven lately, and balance."""
    report, starts = ReconciliationReport.objects.first(), _starts()
    if report is None and starts:
        return [unknown("books", f"not yet proven: {starts}")]
    if report is None:
        return [bad("books", "never proven", "manage.py ledger verify")]
    found: list[Finding] = []
    age_s = (timezone.now() - report.created_at).total_seconds()
    if gaps := gaps_known():
        text = f"{len(gaps)} gaps: {gaps[0][:200]}"
        found.append(bad("books", text, f"{RUNBOOKS}/money.md#booksdonotbalance"))
    if age_s > PROOF_AGE_MAX_S and not starts:
        text = f"last proven {age_s / 60:.0f} min ago"
        found.append(bad("books", text, f"{RUNBOOKS}/money.md#booksnotproven"))
    whole = ReconciliationReport.objects.filter(whole=True).first()
    if whole is not None and timezone.now() - whole.created_at > WHOLE_PROOF_AGE_MAX:
        text = f"last proven from the beginning at {whole.created_at:%Y-%m-%d %H:%M}"
        found.append(bad("books", text, f"{RUNBOOKS}/money.md#booksnotprovenwhole"))
    return found or [good("books", f"balance, proven {age_s:.0f} s ago")]


def leases() -> list[Finding]:
    """No credit is set aside for a router that is gone."""
    rows = Lease.objects.filter(state=LeaseState.OPEN, expires_at__lt=timezone.now())
    if expired := rows.count():
        ids = ", ".join(sorted(set(rows.values_list("router_id", flat=True))))
        text = f"{expired} are past their end, of {ids}"
        return [bad("leases", text, f"{RUNBOOKS}/money.md#leasesexpired")]
    return [good("leases", "none is past its end")]
