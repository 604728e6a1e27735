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
from marketplace.catalog.heartbeats import unbroken_since
from marketplace.catalog.models import Worker, WorkerMember
from marketplace.catalog.services import worker_drain, worker_put
from marketplace.routing.models import SnapshotRow
from marketplace.routing.topology.polling import WATCH

DRAINED = "its agent drains it"
GONE = "its agent no longer runs it"
REVOKED = "its agent was revoked"
KEPT = ("url", "protocol", "slots", "gang_size")
"""What of a report is the worker's row."""


class TokenRefused(Exception):
    """The token is unknown, used or expired; the message says which, as far as it may."""


@transaction.atomic
def agent_register(*, token: str, who: Introduction) -> tuple[Agent, str]:
    """Exchange a token for an agent and its credential. Raises :class:`TokenRefused`.

    Who brings a reusable token and the name of an agent that joined by it is that agent: a pod that
    comes back continues as the same worker, and its earlier credential ends.
    """
    row = (
        WorkerToken.objects.select_for_update(of=("self",))
        .select_related("pool")
        .filter(digest=digest_of(token))
        .first()
    )
    if row is None:
        raise TokenRefused(_("Unknown token."))
    if row.state != "open":
        raise TokenRefused(_("This token was already used, or has expired: create another."))
    row.used_at = timezone.now()
    row.save(update_fields=["used_at"])
    credential = credential_make()
    agent = _returning(row, who.name) or Agent(name=_free_name(who.name), pool=row.pool, token=row)
    agent.digest = digest_of(credential)
    agent.hardware, agent.fingerprint = who.hardware, who.fingerprint
    agent.version = who.version
    agent.full_clean()
    agent.save()
    return agent, credential


def _returning(token: WorkerToken, name: str) -> Agent | None:
    if not token.reusable:
        return None
    return token.agents.filter(name=name, revoked_at=None).first()


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
    followed = [_follow(agent, known.get(report.name), report) for report in beat.workers]
    rows = [row for row in followed if row is not None]
    for name in known.keys() - {report.name for report in beat.workers}:
        _let_go(known[name])
    return _words(rows)


def _follow(agent: Agent, row: AgentWorker | None, report: WorkerReport) -> AgentWorker | None:
    """None for a member of a gang whose first rank nobody has reported yet."""
    if row is not None and report.gang and report.gang != row.worker.worker_id:
        # The agent uses the name of a server that is gone for a part of another gang.
        _let_go(row)
        row.delete()
        row = None
    if row is None:
        worker = _member_of(agent, report) if report.rank else _worker(agent, report)
        if worker is None:
            return None
        row = AgentWorker(agent=agent, name=report.name, worker=worker, rank=report.rank)
    elif report.rank == 0:
        values = {name: getattr(report, name) for name in KEPT}
        if any(getattr(row.worker, name) != value for name, value in values.items()):
            worker_put(worker=row.worker, **values)
    for name in ("state", "engine", "engine_version", "served_model", "model_version"):
        setattr(row, name, getattr(report, name))
    row.full_clean(exclude=["worker"])
    row.save()
    _report_keep(row, report.error if report.state == ReportedState.DOWN else "")
    if report.state == ReportedState.DRAINING and not row.worker.draining:
        worker_drain(worker=row.worker, draining=True, why=DRAINED, confirmed=True)
    elif report.state == ReportedState.READY and _may_return(row.worker):
        worker_drain(worker=row.worker, draining=False)
    return row


def _report_keep(row: AgentWorker, error: str) -> None:
    now = timezone.now()
    told = {"reported_at": now, "reported_error": error}
    if row.rank:
        WorkerMember.objects.update_or_create(worker=row.worker, rank=row.rank, defaults=told)
    else:
        since = unbroken_since(row.worker, now)
        Worker.objects.filter(pk=row.worker_id).update(reports_since=since, **told)


def _may_return(worker: Worker) -> bool:
    """Whether agents drained it, and every one of its processes is back. What somebody else has
    drained stays drained.
    """
    if not worker.draining or worker.drain_reason not in (DRAINED, GONE):
        return False
    ready = worker.reports.filter(state=ReportedState.READY).count()
    return ready == worker.gang_size


def _worker(agent: Agent, report: WorkerReport) -> Worker:
    """A new row: it gets calls once the prober has found it ready at its address."""
    worker_id = report.gang or f"{agent.name}-{report.name}"
    if Worker.objects.filter(worker_id=worker_id).exists():
        raise ValidationError(
            _("Another worker is called %(name)s: start the agent with another --name.")
            % {"name": worker_id}
        )
    return worker_put(
        worker=Worker(worker_id=worker_id, pool=agent.pool, healthy=False),
        **{name: getattr(report, name) for name in KEPT},
    )


def _member_of(agent: Agent, report: WorkerReport) -> Worker | None:
    """The gang's worker, in the agent's own pool."""
    worker = Worker.objects.filter(worker_id=report.gang, pool=agent.pool).first()
    if worker is None:
        return None
    if report.rank >= worker.gang_size:
        raise ValidationError(
            _("The gang %(name)s has %(n)s members: there is no rank %(rank)s.")
            % {"name": worker.worker_id, "n": worker.gang_size, "rank": report.rank}
        )
    if worker.reports.filter(rank=report.rank).exists():
        raise ValidationError(
            _("Another agent runs rank %(rank)s of %(name)s.")
            % {"name": worker.worker_id, "rank": report.rank}
        )
    return worker


def _let_go(row: AgentWorker, why: str = GONE) -> None:
    if row.state == ReportedState.GONE:
        return
    row.state = ReportedState.GONE
    row.save(update_fields=["state"])
    if row.rank:
        _report_keep(row, why)
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
            fault="" if row.worker.healthy else row.worker.health_error,
        )
        for row in rows
    ]


@transaction.atomic
def agent_revoke(*, agent: Agent) -> Agent:
    """Revoke an agent permanently: its credential is refused, and its workers get nothing new."""
    agent = Agent.objects.select_for_update(of=("self",)).select_related("pool").get(pk=agent.pk)
    if agent.revoked_at is None:
        agent.revoked_at = timezone.now()
        agent.save(update_fields=["revoked_at"])
    for row in agent.workers.select_related("worker__pool"):
        _let_go(row, REVOKED)
    return agent
