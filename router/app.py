"""The composition root: the only place that knows the adapters."""

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from router.adapters.memory import (
    UNLIMITED_NANO,
    MemoryIdempotencyStore,
    MemoryLedger,
    MemorySnapshotSource,
)
from router.adapters.otlp import SpanRecorder
from router.adapters.postgres import (
    POLL_S,
    PostgresCluster,
    PostgresIdempotencyStore,
    PostgresLedger,
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
from router.logs import CallLog
from router.metering.journal import Journal
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.attempts import Attempts
from router.pipeline.cluster import ClusterView
from router.pipeline.dispatch import Dispatcher
from router.pipeline.gateway import Gateway
from router.pipeline.meters import Meters
from router.pipeline.rate_limit import RateLimiter
from router.pipeline.recent import RecentCalls
from router.pipeline.routing_table import build_table
from router.ports import (
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
from router.settings import Settings
from router.upstream.http import open_client
from router.upstream.oip_grpc import GRPCTransport
from router.upstream.oip_http import HTTPTransport, OIPUpstream
from router.upstream.openai_http import OpenAIUpstream

SETTLE_AT_STOP_S = 5.0
LEASE_SWEEP_S = 1.0
POLLS_PER_AGE = 4

log = logging.getLogger(__name__)


class MemoryRecorder:
    """The recorder of a router alone: the last calls in memory, nothing to settle."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def admit(self) -> None:
        """Always."""

    def append(self, record: UsageRecord) -> None:
        """Keep it among the last ones."""
        self._ledger.records.append(record)


async def serve(settings: Settings) -> None:
    """Run the router until SIGTERM or SIGINT, then drain, settle and return."""
    if settings.fleet_path is not None:
        return await _serve_alone(settings, settings.fleet_path)
    pool = open_pool(settings.database_url)
    ledger = PostgresLedger(
        pool, router_id=settings.router_id, lease_ttl_s=settings.limits.lease_ttl_s
    )
    vault = Vault(ledger, lease_nano=settings.limits.lease_nano, clock=time.time)
    journal = Journal(settings.home / "journal" / str(settings.port))
    settler = Settler(
        journal,
        ledger,
        settled=lambda record: vault.book.acknowledge(record.lease_id),
        unsettled_max=settings.limits.unsettled_max,
        rejected_path=settings.home / "journal" / f"{settings.port}-rejected.jsonl",
    )
    kept = SnapshotFile(settings.home / "snapshot.json")
    cluster = PostgresCluster(pool)
    answers = PostgresIdempotencyStore(pool)
    await pool.open(wait=False)
    try:
        await _release_leases_of_an_earlier_life(settler, ledger)
        async with _background(settler.run(), _sweep_leases(vault)):
            source = PostgresSnapshotSource(
                settings.database_url,
                poll_s=min(POLL_S, settings.limits.snapshot_age_max_s / POLLS_PER_AGE),
            )
            await _serve_http(settings, vault, settler, ledger, answers, source, kept, cluster)
        await settler.flush(SETTLE_AT_STOP_S)
        vault.book.retire_all()
        with contextlib.suppress(LedgerUnavailable):
            await vault.return_finished()
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
    vault = Vault(ledger, lease_nano=settings.limits.lease_nano, clock=time.time)
    source = MemorySnapshotSource(snapshot)
    answers = MemoryIdempotencyStore(time.monotonic)
    await _serve_http(settings, vault, MemoryRecorder(ledger), ledger, answers, source, kept=None)


async def _serve_http(
    settings: Settings,
    vault: Vault,
    recorder: Recorder,
    books: Books,
    answers: IdempotencyStore,
    source: SnapshotSource,
    kept: SnapshotFile | None,
    cluster: Cluster | None = None,
) -> None:
    """Listen, follow the catalog, and on a signal stop taking calls and let the others finish."""
    scheduler = Scheduler(queue_max=settings.limits.queue_max, random=random.random)
    limits = settings.limits
    async with (
        open_client(limits, AddressPolicy(settings.upstream_networks)) as client,
        # An owner may let a call wait in its queue and then wait for its worker.
        open_client(
            limits,
            AddressPolicy(EVERYWHERE),
            silence_s=limits.queue_wait_s + limits.silence_timeout_s,
        ) as to_routers,
        contextlib.AsyncExitStack() as closing,
    ):
        grpc_transport = GRPCTransport(limits, AddressPolicy(settings.upstream_networks))
        closing.push_async_callback(grpc_transport.close)
        dispatcher = Dispatcher(scheduler, clock=time.monotonic)
        limiter = RateLimiter(time.monotonic)
        upstreams: dict[str, Upstream] = {
            "openai": OpenAIUpstream(client, limits),
            "oip": OIPUpstream(HTTPTransport(client, limits)),
            "oip_grpc": OIPUpstream(grpc_transport),
        }
        kept_by = CallLog(recorder) if settings.log_calls else recorder
        if settings.trace_share is not None:
            kept_by = spans = SpanRecorder(kept_by)
            closing.push_async_callback(asyncio.to_thread, spans.close)
        recent = RecentCalls(kept_by)
        meters = Meters(recent)
        gateway = Gateway(
            router_id=settings.router_id,
            key_pepper=settings.key_pepper,
            dispatcher=dispatcher,
            attempts=Attempts(dispatcher, upstreams, limits),
            vault=vault,
            limiter=limiter,
            recorder=meters,
            # A fleet file does not grow old.
            snapshot_age_max_s=limits.snapshot_age_max_s if cluster is not None else inf,
        )
        view = None
        if cluster is not None:
            me = Member(settings.router_id, settings.advertised_url)
            view = ClusterView(
                me, cluster, dispatcher, limiter, ttl_s=limits.member_ttl_s, clock=time.monotonic
            )
        operations = Operations(
            gateway,
            dispatcher,
            meters,
            limits=limits,
            admin_token=settings.admin_token,
            unsettled=lambda: recorder.unsettled if isinstance(recorder, Settler) else 0,
            routers=lambda: view.members if view else (),
        )
        forwarder = view and Forwarder(
            view, to_routers, settings.key_pepper, limits.answer_bytes_max
        )
        api = API(
            gateway,
            operations,
            Account(gateway, recent, books),
            Idempotency(answers, limits),
            limits=limits,
            forwarder=forwarder,
            trace_share=settings.trace_share,
        )
        server = HTTPServer(api, limits, frozenset(settings.cors_origins))
        async with _background(
            _follow(source, gateway, kept, view), *([view.run()] if view else [])
        ):
            await server.listen(settings.host, settings.port)
            grpc_server = None
            if settings.grpc_port:
                service = InferenceService(
                    gateway,
                    operations,
                    limits=limits,
                    new_call=api.new_call,
                    trace_share=settings.trace_share,
                    forwarder=forwarder,
                )
                grpc_server = GRPCServer(service, limits)
                await grpc_server.listen(settings.host, settings.grpc_port)
            try:
                await _stop_signal()
                if view is not None:
                    await view.leave()
                server.stop_listening()
                draining = api.drain(limits.drain_s)
                if grpc_server is not None:
                    await asyncio.gather(draining, grpc_server.stop(limits.drain_s))
                else:
                    await draining
            finally:
                server.close()


async def _follow(
    source: SnapshotSource, gateway: Gateway, kept: SnapshotFile | None, view: ClusterView | None
) -> None:
    """Begin with the snapshot on disk, then swap in each newer one."""

    def use(snapshot: Snapshot) -> None:
        table = build_table(snapshot)
        gateway.use(table)
        if view is not None:
            view.use(table)

    if kept is not None:
        try:
            last = await asyncio.to_thread(kept.load)
        except ValueError as error:
            log.error("the kept snapshot is damaged and left aside: %s", error)
            last = None
        if last is not None:
            use(last)
    async for snapshot in source.snapshots():
        gateway.confirm()
        if snapshot is None:
            continue
        use(snapshot)
        if kept is not None:
            await asyncio.to_thread(kept.save, snapshot)


async def _sweep_leases(vault: Vault) -> None:
    while True:
        await asyncio.sleep(LEASE_SWEEP_S)
        try:
            await vault.return_finished()
        except LedgerUnavailable as error:
            log.warning("a finished lease could not be returned: %s", error)


async def _release_leases_of_an_earlier_life(settler: Settler, ledger: LeaseBank) -> None:
    """Settle what an earlier process left in the journal, and only then free its leases."""
    try:
        if await settler.flush(SETTLE_AT_STOP_S):
            await ledger.close_all()
    except LedgerUnavailable as error:
        log.warning("starting without the ledger; leases of an earlier run stay held: %s", error)


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
    """Run these beside the block and cancel them at its end; a failure of one ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
