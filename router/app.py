"""The composition root: the only place that knows the adapters."""

import asyncio
import contextlib
import logging
import random
import signal
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from msgspec import Struct

from router.adapters.file_disk import FileDisk, LineFile
from router.adapters.learned_file import LearnedFile
from router.adapters.memory import (
    UNLIMITED_NANO,
    MemoryBank,
    MemoryIdempotencyStore,
    MemoryLedger,
    MemorySnapshotSource,
)
from router.adapters.otlp import SpanRecorder
from router.adapters.postgres import (
    POLL_S,
    PostgresBank,
    PostgresCluster,
    PostgresIdempotencyStore,
    PostgresLedger,
    PostgresRefusals,
    PostgresSnapshotSource,
    open_pool,
)
from router.adapters.snapshot_file import SnapshotFile
from router.adapters.static_fleet import load_fleet
from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.errors import LedgerUnavailable
from router.ingress.account import Account
from router.ingress.api import API
from router.ingress.forward import Forwarder
from router.ingress.http1 import HTTPServer
from router.ingress.idempotency import Idempotency
from router.ingress.oip_grpc import GRPCServer, InferenceService
from router.ingress.operations import Operations
from router.ingress.pass_through import PassThrough
from router.logs import CallLog
from router.metering.journal import Journal, JournalBroken
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.attempts import Attempts
from router.pipeline.cluster import ClusterView
from router.pipeline.dispatch import Dispatcher
from router.pipeline.engine_polls import EnginePolls
from router.pipeline.gateway import Gateway
from router.pipeline.history import Histories
from router.pipeline.meters import Meters
from router.pipeline.rate_limit import RateLimiter
from router.pipeline.recent import RecentCalls
from router.pipeline.refusals import Refusals
from router.pipeline.remembering import Remembering
from router.pipeline.routing_table import build_table
from router.ports import (
    NO_LOSSES,
    Books,
    Cluster,
    IdempotencyStore,
    LeaseBank,
    Member,
    Recorder,
    SnapshotSource,
    Upstream,
)
from router.scheduling.scheduler import Scheduler
from router.settings import Limits, Settings, SettingsInvalid
from router.upstream.engine_reports import MetricsReports
from router.upstream.http import HTTPClient
from router.upstream.oip_grpc import GRPCTransport
from router.upstream.oip_http import HTTPTransport, OIPUpstream
from router.upstream.openai_http import OpenAIUpstream

SETTLE_AT_STOP_S = 5.0
POLLS_PER_AGE = 4

log = logging.getLogger(__name__)


class MemoryRecorder:
    """The recorder of a standalone router: the latest calls in memory, nothing to settle."""

    unsettled = 0
    losses = NO_LOSSES

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def admit(self) -> None:
        """Always admits."""

    def checkpoint(self, record: UsageRecord) -> None:
        """Nobody is billed."""

    def append(self, record: UsageRecord) -> None:
        """Keep it among the latest calls."""
        self._ledger.records.append(record)


async def serve(settings: Settings) -> None:
    """Run the router until SIGTERM or SIGINT, then drain, settle and return."""
    if settings.fleet_path is not None:
        return await _serve_alone(settings, settings.fleet_path)
    pool = open_pool(settings.database_url)
    ledger = PostgresLedger(pool)
    bank = PostgresBank(
        pool,
        settings.database_url,
        router_id=settings.router_id,
        life=new_id(),
        lease_ttl_s=settings.limits.lease_ttl_s,
    )

    def acknowledge(record: UsageRecord) -> None:
        vault.book.acknowledge(record.lease_id)

    journal = open_journal(settings.home / "journal" / str(settings.port))
    aside = LineFile(settings.home / "journal" / f"{settings.port}-rejected.jsonl")
    settler = Settler(
        journal,
        ledger,
        settled=acknowledge,
        set_aside=aside.append,
        set_aside_bytes=aside.size,
        unsettled_max=settings.limits.unsettled_max,
    )
    vault = open_vault(bank, settings.limits, earlier_is_settled=lambda: settler.earlier_is_settled)
    kept = SnapshotFile(settings.home / "snapshot.json")
    cluster = PostgresCluster(pool)
    answers = PostgresIdempotencyStore(pool)
    refusals = Refusals(PostgresRefusals(pool), clock=time.time)
    await pool.open(wait=False)
    try:
        async with _background(settler.run(), vault.run(), refusals.run()):
            source = PostgresSnapshotSource(
                settings.database_url,
                poll_s=min(POLL_S, settings.limits.snapshot_age_max_s / POLLS_PER_AGE),
            )
            await serve_http(
                settings, vault, settler, ledger, answers, source, kept, cluster, refusals
            )
        await settler.flush(SETTLE_AT_STOP_S)
        await refusals.flush()
        vault.book.retire_all()
        with contextlib.suppress(LedgerUnavailable):
            await vault.sweep()
    finally:
        journal.close()
        await pool.close()


async def _serve_alone(settings: Settings, fleet_path: Path) -> None:
    snapshot = load_fleet(
        fleet_path,
        key=settings.fleet_key,
        key_pepper=settings.key_pepper,
        now_ms=time.time_ns() // 1_000_000,
    )
    ledger = MemoryLedger(clock=time.time, default_nano=UNLIMITED_NANO)
    bank = MemoryBank(ledger, router_id=settings.router_id, lease_ttl_s=inf)
    vault = open_vault(bank, settings.limits)
    source = MemorySnapshotSource(snapshot)
    answers = MemoryIdempotencyStore(time.monotonic)
    await serve_http(settings, vault, MemoryRecorder(ledger), ledger, answers, source, kept=None)


async def serve_http(
    settings: Settings,
    vault: Vault,
    recorder: MemoryRecorder | Settler,
    books: Books,
    answers: IdempotencyStore,
    source: SnapshotSource,
    kept: SnapshotFile | None,
    cluster: Cluster | None = None,
    refusals: Refusals | None = None,
) -> None:
    """Listen, follow the catalog, and on a signal take no more calls and let the others finish."""
    async with contextlib.AsyncExitStack() as closing:
        router = await _compose(
            settings, vault, recorder, books, answers, cluster, refusals, closing
        )
        view, remembering = router.view, router.remembering
        if remembering is not None:
            await remembering.recall()
        follower = _Follower(router.gateway, kept, view)
        await follower.recall()
        server = HTTPServer(router.api, settings.limits, frozenset(settings.cors_origins))
        async with _background(
            follower.run(source),
            *([view.run()] if view else []),
            *([router.polls.run()] if router.polls else []),
            *([remembering.run()] if remembering else []),
        ):
            await server.listen(settings.host, settings.port)
            grpc_server = await _listen_grpc(settings, router)
            try:
                await _stop_signal()
                if view is not None:
                    await view.leave()
                await server.stop_listening()
                await _drain(router.api, grpc_server, settings.limits.drain_s)
            finally:
                server.close()


class _Router(Struct, frozen=True):
    """The parts that listen to clients and follow the catalog. ``view`` is None if standalone."""

    gateway: Gateway
    operations: Operations
    api: API
    view: ClusterView | None
    forwarder: Forwarder | None
    remembering: Remembering | None
    polls: EnginePolls | None


async def _compose(
    settings: Settings,
    vault: Vault,
    recorder: MemoryRecorder | Settler,
    books: Books,
    answers: IdempotencyStore,
    cluster: Cluster | None,
    refusals: Refusals | None,
    closing: contextlib.AsyncExitStack,
) -> _Router:
    """Build the gateway and the servers in front of it."""
    limits = settings.limits
    client = await _open_to_workers(settings, closing)
    upstreams = _upstreams(settings, client, closing)
    to_routers = await _open_to_routers(limits, closing)
    dispatcher = Dispatcher(
        Scheduler(queue_max=limits.queue_max, random=random.random),
        upstreams,
        clock=time.monotonic,
    )
    limiter = RateLimiter(time.monotonic)
    recent = RecentCalls(_observed(settings, recorder, closing))
    histories = Histories(recent, clock=time.time)
    meters = Meters(histories)
    gateway = Gateway(
        router_id=settings.router_id,
        key_pepper=settings.key_pepper,
        dispatcher=dispatcher,
        attempts=Attempts(dispatcher, upstreams, histories, limits),
        vault=vault,
        limiter=limiter,
        recorder=meters,
        checkpoint=recorder.checkpoint,
        stream_max_s=limits.stream_max_s,
        hardware_max_s=limits.hardware_max_s,
        # A fleet file does not grow old.
        snapshot_age_max_s=limits.snapshot_age_max_s if cluster is not None else inf,
        refusals=refusals,
    )
    view = _view(settings, cluster, dispatcher, limiter) if cluster is not None else None
    forwarder = view and Forwarder(view, to_routers, settings.key_pepper, limits.answer_bytes_max)
    interval_s = limits.engine_poll_s
    polls = EnginePolls(dispatcher, MetricsReports(client, limits), interval_s=interval_s)
    operations = Operations(
        gateway,
        dispatcher,
        meters,
        limits=limits,
        router_id=settings.router_id,
        admin_token=settings.admin_token,
        unsettled=lambda: recorder.unsettled,
        losses=lambda: recorder.losses,
        routers=lambda: view.members if view is not None else (),
        polls=polls,
    )
    api = API(
        gateway,
        operations,
        Account(gateway, recent, books, forwarder),
        Idempotency(answers, limits),
        histories,
        limits=limits,
        forwarder=forwarder,
        jobs=await _open_to_jobs(settings, closing),
        trace_share=settings.trace_share,
    )
    remembering = _remembering(settings, gateway, dispatcher) if cluster is not None else None
    asked = polls if interval_s else None
    return _Router(gateway, operations, api, view, forwarder, remembering, asked)


async def _open_to_workers(settings: Settings, closing: contextlib.AsyncExitStack) -> HTTPClient:
    policy = AddressPolicy(settings.upstream_networks)
    return await closing.enter_async_context(HTTPClient(settings.limits, policy))


def _upstreams(
    settings: Settings, client: HTTPClient, closing: contextlib.AsyncExitStack
) -> dict[str, Upstream]:
    """The upstream for each protocol of workers."""
    limits, policy = settings.limits, AddressPolicy(settings.upstream_networks)
    grpc_transport = GRPCTransport(limits, policy)
    closing.push_async_callback(grpc_transport.close)
    return {
        "openai": OpenAIUpstream(client, limits),
        "oip": OIPUpstream(HTTPTransport(client, limits)),
        "oip_grpc": OIPUpstream(grpc_transport),
    }


async def _open_to_routers(limits: Limits, closing: contextlib.AsyncExitStack) -> HTTPClient:
    # The owner may let a call wait in its queue, and then for its worker.
    silence_s = limits.queue_wait_s + limits.silence_timeout_s
    client = HTTPClient(limits, AddressPolicy(EVERYWHERE), silence_s=silence_s)
    return await closing.enter_async_context(client)


async def _open_to_jobs(
    settings: Settings, closing: contextlib.AsyncExitStack
) -> PassThrough | None:
    if not settings.jobs_url:
        return None
    return await closing.enter_async_context(PassThrough(settings.jobs_url, settings.limits))


def _observed(
    settings: Settings, recorder: Recorder, closing: contextlib.AsyncExitStack
) -> Recorder:
    """The recorder, behind those that log or trace each call if the settings ask for them."""
    if settings.log_calls:
        recorder = CallLog(recorder)
    if settings.trace_share is not None:
        recorder = spans = SpanRecorder(recorder)
        closing.push_async_callback(asyncio.to_thread, spans.close)
    return recorder


def _view(
    settings: Settings, cluster: Cluster, dispatcher: Dispatcher, limiter: RateLimiter
) -> ClusterView:
    me = Member(settings.router_id, settings.advertised_url)
    ttl_s = settings.limits.member_ttl_s
    return ClusterView(me, cluster, dispatcher, limiter, ttl_s=ttl_s, clock=time.monotonic)


def _remembering(
    settings: Settings, gateway: Gateway, dispatcher: Dispatcher
) -> Remembering | None:
    """Keeps what was learned of workers over restarts, if the settings ask for it."""
    age_max_s = settings.limits.learned_max_age_s
    if not age_max_s:
        return None
    # One file per port, like the journal: each router learns from the workers that it uses.
    file = LearnedFile(settings.home / "learned" / f"{settings.port}.json")
    return Remembering(dispatcher, gateway.counts, file, age_max_s=age_max_s, clock=time.time)


async def _listen_grpc(settings: Settings, router: _Router) -> GRPCServer | None:
    """Serve the Open Inference Protocol over gRPC, if the settings ask for it."""
    if not settings.grpc_port:
        return None
    service = InferenceService(
        router.gateway,
        router.operations,
        limits=settings.limits,
        new_call=router.api.new_call,
        trace_share=settings.trace_share,
        forwarder=router.forwarder,
    )
    server = GRPCServer(service, settings.limits)
    await server.listen(settings.host, settings.grpc_port)
    return server


async def _drain(api: API, grpc_server: GRPCServer | None, timeout_s: float) -> None:
    draining = api.drain(timeout_s)
    if grpc_server is not None:
        await asyncio.gather(draining, grpc_server.stop(timeout_s))
    else:
        await draining


class _Follower:
    """Keeps the router on the newest catalog."""

    def __init__(
        self, gateway: Gateway, kept: SnapshotFile | None, view: ClusterView | None
    ) -> None:
        self._gateway = gateway
        self._kept = kept
        self._view = view

    async def recall(self) -> None:
        """Begin with the snapshot on disk, so that a restarted router always listens with one."""
        if self._kept is None:
            return
        try:
            last = await asyncio.to_thread(self._kept.load)
        except ValueError as error:
            log.error("the kept snapshot is damaged and left aside: %s", error)
            return
        if last is not None:
            self._use(last)

    async def run(self, source: SnapshotSource) -> None:
        """Swap in each newer snapshot."""
        async for snapshot in source.snapshots():
            self._gateway.confirm()
            if snapshot is not None:
                self._use(snapshot)
                await self._keep(snapshot)

    def _use(self, snapshot: Snapshot) -> None:
        table = build_table(snapshot)
        self._gateway.use(table)
        if self._view is not None:
            self._view.use(table)

    async def _keep(self, snapshot: Snapshot) -> None:
        if self._kept is None:
            return
        try:
            await asyncio.to_thread(self._kept.save, snapshot)
        except OSError as error:
            log.error("the snapshot cannot be kept for a start without the database: %s", error)


def new_id() -> str:
    """A new id of a lease, or of one run of this router."""
    return str(uuid.uuid4())


def open_vault(
    bank: LeaseBank, limits: Limits, *, earlier_is_settled: Callable[[], bool] = lambda: True
) -> Vault:
    """A vault that uses the wall clock."""
    return Vault(
        bank,
        lease_nano=limits.lease_nano,
        lease_ttl_s=limits.lease_ttl_s,
        clock=time.time,
        new_id=new_id,
        earlier_is_settled=earlier_is_settled,
    )


def _stop_signal() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def resolve() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, resolve)
    return stop


@asynccontextmanager
async def _background(*coroutines: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Run these beside the block, and cancel them at its end. A failure of one ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def open_journal(folder: Path) -> Journal:
    """The journal in its own folder. Raises ``SettingsInvalid`` if none can be written there."""
    try:
        disk = FileDisk(folder)
        disk.claim()
        return Journal(disk)
    except OSError as error:
        raise SettingsInvalid(_unwritable(folder, str(error.strerror))) from None
    except JournalBroken as error:
        raise SettingsInvalid(_unwritable(folder, str(error))) from None


def _unwritable(folder: Path, why: str) -> str:
    return f"the journal in {folder} cannot be kept ({why}); give a writable WAYPOST_HOME"
