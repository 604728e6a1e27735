"""Runs a router: opens what it keeps things in, listens, follows the catalog, and stops in order.

This and :mod:`router.compose` are the composition root: nothing else knows the adapters.
"""

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from msgspec import Struct

from router.adapters.file_disk import FileDisk, LineFile
from router.adapters.memory import (
    UNLIMITED_NANO,
    MemoryBank,
    MemoryIdempotencyStore,
    MemoryLedger,
    MemorySnapshotSource,
)
from router.adapters.memory_responses import MemoryResponseStore
from router.adapters.postgres.bank import PostgresBank
from router.adapters.postgres.cluster import PostgresCluster
from router.adapters.postgres.idempotency import PostgresIdempotencyStore
from router.adapters.postgres.ledger import PostgresLedger
from router.adapters.postgres.pool import Pool, open_pool
from router.adapters.postgres.refusals import PostgresRefusals
from router.adapters.postgres.responses import PostgresResponseStore
from router.adapters.postgres.snapshots import POLL_S, PostgresSnapshotSource
from router.adapters.snapshot_file import SnapshotFile
from router.adapters.static_fleet import load_fleet
from router.compose import MemoryRecorder, Router, Stores, compose
from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot, understood
from router.domain.errors import LedgerUnavailable
from router.ingress.api import API
from router.ingress.http.http_server import HTTPServer
from router.ingress.oip.oip_grpc import GRPCServer, InferenceService
from router.metering.journal import Journal, JournalBroken
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.access.refusals import Refusals
from router.pipeline.fleet.cluster import ClusterView
from router.pipeline.gateway import Gateway
from router.pipeline.plans.routing_table import build_table
from router.ports.bank import LeaseBank
from router.ports.catalog import SnapshotSource
from router.settings import Limits, Settings, SettingsInvalid

SETTLE_AT_STOP_S = 5.0
SETTLE_LEFT_S = 120.0
POLLS_PER_AGE = 4
FREE_AGAIN_S = 1.0

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run the router until SIGTERM or SIGINT, then drain, settle and return."""
    if settings.fleet_path is not None:
        return await _serve_alone(settings, settings.fleet_path)
    life = new_id()
    async with _books(settings, life) as books:
        answers = PostgresIdempotencyStore(books.pool, router_id=settings.router_id, life=life)
        refusals = Refusals(PostgresRefusals(books.pool), clock=time.time)
        beside = books.settler.run(), books.vault.run(), refusals.run()
        async with _background(*beside, free_keys(books.bank, answers)):
            source = PostgresSnapshotSource(
                settings.database_url,
                poll_s=min(POLL_S, settings.limits.snapshot_age_max_s / POLLS_PER_AGE),
            )
            stores = Stores(
                books.vault,
                books.settler,
                books.ledger,
                answers,
                PostgresResponseStore(books.pool),
                source,
                SnapshotFile(settings.home / "snapshot.json"),
                PostgresCluster(books.pool),
                refusals,
            )
            await serve_http(settings, stores)
        await books.settler.flush(SETTLE_AT_STOP_S)
        await refusals.flush()
        books.vault.book.retire_all()
        with contextlib.suppress(LedgerUnavailable):
            await books.vault.sweep()


async def settle(settings: Settings) -> None:
    """Do the last of a router that will not come back: settle its journal, return its credit.

    Its folder goes when nothing is left in it. Raises ``LedgerUnavailable`` while the database is
    away or another router has its name.
    """
    life = new_id()
    async with _books(settings, life) as books:
        if not await books.settler.flush(SETTLE_LEFT_S):
            left = books.settler.unsettled
            raise LedgerUnavailable(f"the ledger is away: {left} calls wait in the journal")
        await books.vault.sweep()
        await PostgresCluster(books.pool).leave(settings.router_id)
        answers = PostgresIdempotencyStore(books.pool, router_id=settings.router_id, life=life)
        await answers.forget_earlier()
    with contextlib.suppress(OSError):
        _journal_folder(settings).rmdir()


class _Books(Struct, frozen=True):
    """A router's part in the ledger: its credit, and the calls that it has not settled."""

    pool: Pool
    ledger: PostgresLedger
    bank: PostgresBank
    settler: Settler
    vault: Vault


@asynccontextmanager
async def _books(settings: Settings, life: str) -> AsyncGenerator[_Books]:
    """Open them for this run, with what earlier ones left in the journal."""
    pool = open_pool(settings.database_url)
    ledger = PostgresLedger(pool)
    bank = PostgresBank(
        pool,
        settings.database_url,
        router_id=settings.router_id,
        life=life,
        lease_ttl_s=settings.limits.lease_ttl_s,
    )

    def acknowledge(record: UsageRecord) -> None:
        vault.book.acknowledge(record.lease_id)

    journal = open_journal(_journal_folder(settings))
    aside = LineFile(settings.home / "journal" / f"{settings.port}-rejected.jsonl")
    settler = Settler(
        journal,
        ledger,
        settled=acknowledge,
        set_aside=aside.append,
        set_aside_bytes=aside.size,
        unsettled_max=settings.limits.unsettled_max,
    )
    vault = open_vault(
        bank,
        settings.limits,
        earlier_is_settled=lambda: settler.earlier_is_settled,
        pages_url=settings.pages_url,
    )
    await pool.open(wait=False)
    try:
        yield _Books(pool, ledger, bank, settler, vault)
    finally:
        journal.close()
        await pool.close()


def _journal_folder(settings: Settings) -> Path:
    return settings.home / "journal" / str(settings.port)


async def free_keys(bank: PostgresBank, answers: PostgresIdempotencyStore) -> None:
    """Free the keys of calls that died with this router before.

    Not before no other router has its name: their calls may still run.
    """
    await bank.alone.wait()
    while True:
        try:
            freed = await answers.forget_earlier()
        except LedgerUnavailable:
            await asyncio.sleep(FREE_AGAIN_S)
            continue
        if freed:
            log.info("%s calls died with this router: their Idempotency-Keys are free", freed)
        return


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
    responses = MemoryResponseStore(time.monotonic)
    stores = Stores(vault, MemoryRecorder(ledger), ledger, answers, responses, source)
    await serve_http(settings, stores)


async def serve_http(settings: Settings, stores: Stores) -> None:
    """Listen, follow the catalog, and on a signal take no more calls and let the others finish."""
    async with contextlib.AsyncExitStack() as closing:
        router = await compose(settings, stores, closing)
        view, remembering = router.view, router.remembering
        if remembering is not None:
            await remembering.recall()
        follower = _Follower(router.gateway, stores.kept, view)
        await follower.recall()
        server = HTTPServer(router.api, settings.limits, frozenset(settings.cors_origins))
        async with _background(
            follower.run(stores.source),
            *([view.run()] if view else []),
            *([router.polls.run()] if router.polls else []),
            router.following.run(),
            *([remembering.run()] if remembering else []),
        ):
            await server.listen(settings.host, settings.port)
            stop = _stop_signal()
            if settings.public_port:
                # The kernel gives a router its part of the calls as soon as it listens.
                await asyncio.wait((stop, follower.ready), return_when=asyncio.FIRST_COMPLETED)
                await server.listen(settings.host, settings.public_port, shares=True)
            grpc_server = await _listen_grpc(settings, router)
            try:
                await stop
                if view is not None:
                    await view.withdraw()
                await server.stop_listening()
                await _drain(router.api, grpc_server, settings.limits.drain_s)
                if view is not None:
                    await view.leave()
            finally:
                server.close()


async def _listen_grpc(settings: Settings, router: Router) -> GRPCServer | None:
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
    server = GRPCServer(service, settings.limits, shares=bool(settings.public_port))
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
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once there is a catalog."""

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
        known, left_out = understood(snapshot)
        for what in left_out:
            log.warning("snapshot %d: this release does not know %s", snapshot.version, what)
        table = build_table(known)
        self._gateway.use(table)
        if self._view is not None:
            self._view.use(table)
        if not self.ready.done():
            self.ready.set_result(None)

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
    bank: LeaseBank,
    limits: Limits,
    *,
    earlier_is_settled: Callable[[], bool] = lambda: True,
    pages_url: str = "",
) -> Vault:
    """A vault that uses the wall clock."""
    return Vault(
        bank,
        lease_nano=limits.lease_nano,
        lease_ttl_s=limits.lease_ttl_s,
        clock=time.time,
        new_id=new_id,
        earlier_is_settled=earlier_is_settled,
        pages_url=pages_url,
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
    """Run these during the block, and cancel them at its end. A failure of one ends the block."""
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
