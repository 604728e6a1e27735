"""Agents register, report, and are revoked. The catalog's workers follow what they report."""

import itertools

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.agents.draining import running_on
from marketplace.agents.models import (
    AGENT_NAME_CHARACTERS,
    Agent,
    AgentWorker,
    ReportedState,
    WorkerToken,
)
from marketplace.agents.reports import Heartbeat, Introduction, WorkerReport, WorkerWord
from marketplace.agents.tokens import credential_make, digest_of
from marketplace.catalog.models import Worker
from marketplace.catalog.services import worker_drain, worker_put
from marketplace.routing.models import SnapshotRow
from marketplace.routing.topology.polling import WATCH

DRAINED = "its agent drains it"
GONE = "its agent no longer runs it"
REVOKED = "its agent was revoked"
KEPT = ("url", "protocol", "slots")
"""What of a report is the worker's row."""


class TokenRefused(Exception):
    """The token is unknown, used or expired; the message says which, as far as it may."""


@transaction.atomic
def agent_register(*, token: str, who: Introduction) -> tuple[Agent, str]:
    """Exchange a one-time token for an agent and its credential. Raises :class:`TokenRefused`."""
    row = (
        WorkerToken.objects.select_for_update(of=("self",))
        .select_related("pool")
        .filter(digest=digest_of(token))
        .first()
    )
    if row is None:
        raise TokenRefused(_("This token is not known."))
    if row.state != "open":
        raise TokenRefused(_("This token was used already, or has expired: make another."))
    row.used_at = timezone.now()
    row.save(update_fields=["used_at"])
    credential = credential_make()
    agent = Agent(
        name=_free_name(who.name),
        pool=row.pool,
        token=row,
        digest=digest_of(credential),
        hardware=who.hardware,
        fingerprint=who.fingerprint,
        version=who.version,
    )
    agent.full_clean()
    agent.save()
    return agent, credential


def _free_name(wanted: str) -> str:
    """The name, or the name with the first free number: two hosts may be called alike."""
    if not Agent.objects.filter(name=wanted).exists():
        return wanted
    for number in itertools.count(2):
        name = f"{wanted[: AGENT_NAME_CHARACTERS - 6]}-{number}"
        if not Agent.objects.filter(name=name).exists():
            return name
    raise AssertionError("there is always a next number")


@transaction.atomic
def heartbeat_take(*, agent: Agent, beat: Heartbeat) -> list[WorkerWord]:
    """Bring the catalog in line with what an agent reports; says what routers do with each worker.

    A whole report every time: one that is lost costs nothing, and one that comes twice is the same.
    Raises ``ValidationError`` for what no worker may be.
    """
    agent = Agent.objects.select_for_update(of=("self",)).select_related("pool").get(pk=agent.pk)
    agent.hardware, agent.fingerprint = beat.hardware, beat.fingerprint
    agent.version, agent.seen_at = beat.version, timezone.now()
    agent.save(update_fields=["hardware", "fingerprint", "version", "seen_at"])
    known = {row.name: row for row in agent.workers.select_related("worker__pool")}
    rows = [_follow(agent, known.get(report.name), report) for report in beat.workers]
    for name in known.keys() - {report.name for report in beat.workers}:
        _let_go(known[name])
    return _words(rows)


def _follow(agent: Agent, row: AgentWorker | None, report: WorkerReport) -> AgentWorker:
    if row is None:
        row = AgentWorker(agent=agent, name=report.name, worker=_worker(agent, report))
        drained_by_agent = False
    else:
        drained_by_agent = row.state in (ReportedState.DRAINING, ReportedState.GONE)
        values = {name: getattr(report, name) for name in KEPT}
        if any(getattr(row.worker, name) != value for name, value in values.items()):
            worker_put(worker=row.worker, **values)
    if report.state == ReportedState.DRAINING and not row.worker.draining:
        worker_drain(worker=row.worker, draining=True, why=DRAINED, confirmed=True)
    # What somebody else has drained stays drained.
    if drained_by_agent and report.state == ReportedState.READY and row.worker.draining:
        worker_drain(worker=row.worker, draining=False)
    for name in ("state", "engine", "engine_version", "served_model", "model_version"):
        setattr(row, name, getattr(report, name))
    row.full_clean(exclude=["worker"])
    row.save()
    Worker.objects.filter(pk=row.worker_id).update(
        reported_at=timezone.now(),
        reported_error=report.error if report.state == ReportedState.DOWN else "",
    )
    return row


def _worker(agent: Agent, report: WorkerReport) -> Worker:
    """A new row: it gets calls once the prober has found it ready at its address."""
    worker_id = f"{agent.name}-{report.name}"
    if Worker.objects.filter(worker_id=worker_id).exists():
        raise ValidationError(
            _("Another worker is called %(name)s: start the agent with another --name.")
            % {"name": worker_id}
        )
    return worker_put(
        worker=Worker(worker_id=worker_id, pool=agent.pool, healthy=False),
        **{name: getattr(report, name) for name in KEPT},
    )


def _let_go(row: AgentWorker, why: str = GONE) -> None:
    if row.state == ReportedState.GONE:
        return
    row.state = ReportedState.GONE
    row.save(update_fields=["state"])
    if not row.worker.draining:
        worker_drain(worker=row.worker, draining=True, why=why, confirmed=True)


def _words(rows: list[AgentWorker]) -> list[WorkerWord]:
    drains = any(row.worker.draining for row in rows)
    reading = WATCH.read() if drains else None
    newest = SnapshotRow.objects.values_list("version", flat=True).first() or 0 if drains else 0
    return [
        WorkerWord(
            name=row.name,
            worker_id=row.worker.worker_id,
            routable=row.worker.healthy and not row.worker.draining,
            in_flight=running_on(row.worker.worker_id, reading, newest)
            if reading is not None and row.worker.draining
            else None,
        )
        for row in rows
    ]


@transaction.atomic
def agent_revoke(*, agent: Agent) -> Agent:
    """End an agent for good: its credential is refused, and its workers get nothing new."""
    agent = Agent.objects.select_for_update(of=("self",)).select_related("pool").get(pk=agent.pk)
    if agent.revoked_at is None:
        agent.revoked_at = timezone.now()
        agent.save(update_fields=["revoked_at"])
    for row in agent.workers.select_related("worker__pool"):
        _let_go(row, REVOKED)
    return agent
