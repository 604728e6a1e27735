"""What an agent joins: a pool of the market, or an organisation's own endpoint.

A site makes and changes the rows that routers' snapshots come from. All else of tokens, heartbeats
and draining is the same in both.
"""

from typing import Any, Protocol, TypeVar, cast

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.agents.models import Agent, AgentWorker, ReportedState, WorkerToken
from marketplace.agents.reports import WorkerReport
from marketplace.catalog.models import Pool, Worker, WorkerMember
from marketplace.catalog.models import Protocol as Spoken
from marketplace.catalog.services import worker_drain, worker_put, workers_lock
from marketplace.endpoints.models import OwnEndpoint, OwnWorker
from marketplace.endpoints.services import base_of, own_worker_drain, own_worker_put

W = TypeVar("W", Worker, OwnWorker)


class Site(Protocol):
    """``name`` is what agents are told. ``prefix`` begins the names of its agents."""

    name: str
    prefix: str

    def server_new(self, agent: Agent, report: WorkerReport) -> dict[str, Any] | None:
        """The server of a first report, as the fields of an :class:`AgentWorker`.

        None for a member of a gang whose first rank nobody has reported yet. Raises
        ``ValidationError`` for what no worker may be.
        """
        ...

    def server_put(self, row: AgentWorker, report: WorkerReport) -> None:
        """Bring a server in line with a report. Raises ``ValidationError``."""
        ...

    def lock(self) -> None:
        """Lock what a report may change: see :func:`marketplace.catalog.services.workers_lock`."""
        ...

    def drain(self, row: AgentWorker, *, draining: bool, why: str = "") -> None:
        """Start or end draining a server."""
        ...

    def fault(self, report: WorkerReport) -> str:
        """Why a server that is up can take no calls, "" where it can."""
        ...


class PoolSite:
    """A pool of the market."""

    prefix = ""

    def __init__(self, pool: Pool) -> None:
        self.name = pool.name
        self._pool = pool

    def server_new(self, agent: Agent, report: WorkerReport) -> dict[str, Any] | None:
        """See :class:`Site`."""
        worker = self._member(report) if report.rank else self._worker(agent, report)
        return None if worker is None else {"worker": worker}

    def server_put(self, row: AgentWorker, report: WorkerReport) -> None:
        """See :class:`Site`."""
        values = _kept(report)
        worker = _server(row, Worker)
        if any(getattr(worker, name) != value for name, value in values.items()):
            worker_put(worker=worker, **values)

    def lock(self) -> None:
        """Draining looks at all workers of the pool."""
        workers_lock(Worker.objects.filter(pool=self._pool))
        workers_lock(WorkerMember.objects.filter(worker__pool=self._pool))

    def drain(self, row: AgentWorker, *, draining: bool, why: str = "") -> None:
        """See :class:`Site`."""
        worker_drain(worker=_server(row, Worker), draining=draining, why=why, confirmed=True)

    def fault(self, report: WorkerReport) -> str:
        """The prober asks for it."""
        return ""

    def _worker(self, agent: Agent, report: WorkerReport) -> Worker:
        """It gets calls once the prober has found it ready at its address."""
        worker_id = report.gang or f"{agent.name}-{report.name}"
        worker = Worker.objects.filter(worker_id=worker_id).first()
        if worker is None:
            worker = Worker(worker_id=worker_id, pool=self._pool)
        # One without an agent was entered by hand.
        elif worker.pool != self._pool or not worker.reported_at or not _left(worker, report.rank):
            raise ValidationError(
                _("Another worker is called %(name)s: start the agent with another --name.")
                % {"name": worker_id}
            )
        worker.healthy = False
        return worker_put(worker=worker, **_kept(report))

    def _member(self, report: WorkerReport) -> Worker | None:
        """The gang's worker, in the agent's own pool."""
        worker = Worker.objects.filter(worker_id=report.gang, pool=self._pool).first()
        if worker is None:
            return None
        if report.rank >= worker.gang_size:
            raise ValidationError(
                _("The gang %(name)s has %(n)s members: there is no rank %(rank)s.")
                % {"name": worker.worker_id, "n": worker.gang_size, "rank": report.rank}
            )
        if not _left(worker, report.rank):
            raise ValidationError(
                _("Another agent runs rank %(rank)s of %(name)s.")
                % {"name": worker.worker_id, "rank": report.rank}
            )
        return worker


def _left(worker: Worker, rank: int) -> bool:
    """Whether no agent runs this rank; forgets the one that ran it last."""
    reports = worker.reports.filter(rank=rank)
    if reports.exclude(state=ReportedState.GONE).exists():
        return False
    reports.delete()
    return True


def _kept(report: WorkerReport) -> dict[str, Any]:
    """What of a report is a row of the catalog."""
    return {
        "url": report.url,
        "protocol": report.protocol,
        "slots": report.slots,
        "gang_size": report.gang_size,
    }


class EndpointSite:
    """An endpoint that an organisation has for itself alone. It has no gangs."""

    def __init__(self, endpoint: OwnEndpoint) -> None:
        self.name = endpoint.name
        self.prefix = f"{endpoint.place}."
        self._endpoint = endpoint

    def server_new(self, agent: Agent, report: WorkerReport) -> dict[str, Any] | None:
        """See :class:`Site`."""
        self._check(report)
        worker = OwnWorker(
            worker_id=f"{agent.name}-{report.name}", endpoint=self._endpoint, healthy=False
        )
        return {"own_worker": own_worker_put(worker=worker, url=report.url, slots=report.slots)}

    def server_put(self, row: AgentWorker, report: WorkerReport) -> None:
        """See :class:`Site`."""
        self._check(report)
        worker = _server(row, OwnWorker)
        if (worker.url, worker.slots) != (base_of(report.url), report.slots):
            own_worker_put(worker=worker, url=report.url, slots=report.slots)

    def lock(self) -> None:
        """See :class:`Site`."""
        workers_lock(OwnWorker.objects.filter(endpoint=self._endpoint))

    def drain(self, row: AgentWorker, *, draining: bool, why: str = "") -> None:
        """See :class:`Site`."""
        own_worker_drain(worker=_server(row, OwnWorker), draining=draining, why=why)

    def fault(self, report: WorkerReport) -> str:
        """Its calls name one model, which the server must have."""
        wanted = self._endpoint.upstream_model
        if not report.served_model or report.served_model == wanted:
            return ""
        return f"it serves {report.served_model!r}, and its endpoint calls {wanted!r}"

    def _check(self, report: WorkerReport) -> None:
        if report.protocol != Spoken.OPENAI:
            raise ValidationError(
                {"protocol": _("Servers of your hosts speak OpenAI's API: choose another engine.")}
            )
        if report.gang:
            raise ValidationError({"gang": _("An endpoint of your own has no gangs.")})


def site_of(row: Agent | WorkerToken) -> Site:
    """What an agent is of, or what a token is for."""
    if row.endpoint is not None:
        return EndpointSite(row.endpoint)
    return PoolSite(cast("Pool", row.pool))  # One of the two is set.


def _server(row: AgentWorker, kind: type[W]) -> W:
    """The server of a report, which is of its site's kind."""
    server = row.server
    if not isinstance(server, kind):
        raise TypeError(f"{row} reports no {kind.__name__}")
    return server
