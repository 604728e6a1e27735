"""Agents register, report, and are revoked. The catalog's workers follow what they report."""

import itertools
from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet
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
from marketplace.agents.sites import Site, site_of
from marketplace.agents.tokens import credential_make, digest_of
from marketplace.catalog.heartbeats import unbroken_since
from marketplace.catalog.models import Worker, WorkerMember
from marketplace.endpoints.models import OwnWorker
from marketplace.routing.models import SnapshotRow
from marketplace.routing.topology.polling import WATCH

DRAINED = "its agent drains it"
GONE = "its agent no longer runs it"
REVOKED = "its agent was revoked"
REPORTED_CHARACTERS = 200
OF = ("pool", "endpoint__organisation")
"""What an agent's or a token's site is read from."""


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
        .select_related(*OF)
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
    prefix = site_of(row).prefix
    wanted = f"{prefix}{who.name}"[:AGENT_NAME_CHARACTERS]
    agent = _returning(row, wanted) or Agent(
        name=_free_name(wanted), pool=row.pool, endpoint=row.endpoint, token=row
    )
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
    """Bring the workers in line with what an agent reports; says what routers do with each worker.

    A whole report every time: one that is lost costs nothing, and one that comes twice is the same.
    Raises ``ValidationError`` for what no worker may be.
    """
    agent = _locked(agent)
    agent.hardware, agent.fingerprint = beat.hardware, beat.fingerprint
    agent.version, agent.seen_at = beat.version, timezone.now()
    agent.save(update_fields=["hardware", "fingerprint", "version", "seen_at"])
    site = site_of(agent)
    site.lock()
    known = _known(site, agent, beat.workers)
    followed = [_follow(site, agent, known.get(report.name), report) for report in beat.workers]
    return _words([row for row in followed if row is not None])


def _locked(agent: Agent) -> Agent:
    return Agent.objects.select_for_update(of=("self",)).select_related(*OF).get(pk=agent.pk)


def _reported(agent: Agent) -> QuerySet[AgentWorker]:
    return agent.workers.select_related("worker__pool", "own_worker__endpoint")


def _known(site: Site, agent: Agent, reports: Sequence[WorkerReport]) -> dict[str, AgentWorker]:
    """The rows of what is reported, by the names that it has now. All others are let go."""
    rows = list(_reported(agent))
    known = {report.name: row for report in reports for row in rows if _is_of(report, row)}
    names = {report.name for report in reports}
    for row in rows:
        is_known = row in known.values()
        if not is_known:
            _let_go(site, row)
        if known.get(row.name) is not row and (is_known or row.name in names):
            row.delete()  # Its name is another's now. One that is known is saved under its new one.
    return known


def _is_of(report: WorkerReport, row: AgentWorker) -> bool:
    """A part of a gang is known by its rank: an agent that starts again gives it another name."""
    if report.gang:
        return (row.server.worker_id, row.rank) == (report.gang, report.rank)
    return row.name == report.name and row.server.gang_size == 1


def _follow(
    site: Site, agent: Agent, row: AgentWorker | None, report: WorkerReport
) -> AgentWorker | None:
    """None for a member of a gang whose first rank nobody has reported yet."""
    if row is None:
        server = site.server_new(agent, report)
        if server is None:
            return None
        row = AgentWorker(agent=agent, rank=report.rank, **server)
    elif report.rank == 0:
        site.server_put(row, report)
    for name in ("name", "state", "engine", "engine_version", "served_model", "model_version"):
        setattr(row, name, getattr(report, name))
    row.full_clean(exclude=["worker", "own_worker"])
    row.save()
    _report_keep(row, report.error if report.state == ReportedState.DOWN else site.fault(report))
    if report.state == ReportedState.DRAINING and not row.server.draining:
        site.drain(row, draining=True, why=DRAINED)
    elif report.state == ReportedState.READY and _may_return(row.server):
        site.drain(row, draining=False)
    return row


def _report_keep(row: AgentWorker, error: str) -> None:
    now = timezone.now()
    told = {"reported_at": now, "reported_error": error[:REPORTED_CHARACTERS]}
    if row.rank:
        WorkerMember.objects.update_or_create(worker=row.worker, rank=row.rank, defaults=told)
    else:
        since = unbroken_since(row.server, now)
        servers = type(row.server)._default_manager
        servers.filter(pk=row.server.pk).update(reports_since=since, **told)


def _may_return(server: Worker | OwnWorker) -> bool:
    """Whether agents drained it, and every one of its processes is back. What somebody else has
    drained stays drained.
    """
    if not server.draining or server.drain_reason not in (DRAINED, GONE, REVOKED):
        return False
    ready = server.reports.filter(state=ReportedState.READY).count()
    return ready == server.gang_size


def _let_go(site: Site, row: AgentWorker, why: str = GONE) -> None:
    if row.state == ReportedState.GONE:
        return
    row.state = ReportedState.GONE
    row.save(update_fields=["state"])
    if row.rank:
        _report_keep(row, why)
    if not row.server.draining:
        site.drain(row, draining=True, why=why)


def _words(rows: list[AgentWorker]) -> list[WorkerWord]:
    drains = any(row.server.draining for row in rows)
    reading = WATCH.read() if drains else None
    newest = SnapshotRow.objects.values_list("version", flat=True).first() or 0 if drains else 0
    return [
        WorkerWord(
            name=row.name,
            worker_id=row.server.worker_id,
            routable=row.server.healthy and not row.server.draining,
            in_flight=running_on(row.server.worker_id, reading, newest)
            if reading is not None and row.server.draining
            else None,
            fault="" if row.server.healthy else row.server.health_error,
        )
        for row in rows
    ]


@transaction.atomic
def agent_revoke(*, agent: Agent) -> Agent:
    """Revoke an agent permanently: its credential is refused, and its workers get nothing new."""
    agent = _locked(agent)
    if agent.revoked_at is None:
        agent.revoked_at = timezone.now()
        agent.save(update_fields=["revoked_at"])
    site = site_of(agent)
    site.lock()
    for row in _reported(agent):
        _let_go(site, row, REVOKED)
    return agent
