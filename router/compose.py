"""Puts one router together: the path of a call, and what listens in front of it."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from math import inf

from msgspec import Struct

from router.adapters.kv_events import ZmqKvEvents
from router.adapters.learned_file import LearnedFile
from router.adapters.memory import MemoryLedger
from router.adapters.otlp import SpanRecorder
from router.adapters.patterns import PatternDetector
from router.adapters.snapshot_file import SnapshotFile
from router.contracts.record import UsageRecord
from router.contracts.sealing import ENDPOINT_KEYS
from router.contracts.sealing import Vault as SecretsVault
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.protocols import OWN_ANTHROPIC, OWN_OPENAI
from router.ingress.account import Account
from router.ingress.api import API
from router.ingress.faces.responses.turns import Turns
from router.ingress.idempotency import Idempotency
from router.ingress.operations.operations import Operations
from router.ingress.proxy.forward import Forwarder
from router.ingress.proxy.judging import OwnersJudge
from router.ingress.proxy.pass_through import PassThrough
from router.logs import CallLog
from router.metering.settler import Settler
from router.metering.vault import Vault
from router.pipeline.access.masking import Masking
from router.pipeline.access.rate_limit import RateLimiter
from router.pipeline.access.refusals import Refusals
from router.pipeline.attempts.attempts import Attempts
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.attempts.starting import WaitingRoom
from router.pipeline.fleet.cluster import ClusterView
from router.pipeline.fleet.engine_polls import EnginePolls
from router.pipeline.fleet.kv_following import KvFollowing
from router.pipeline.fleet.remembering import Remembering
from router.pipeline.gateway import Gateway
from router.pipeline.recorders.history import Histories
from router.pipeline.recorders.meters import Meters
from router.pipeline.recorders.recent import RecentCalls
from router.ports.books import Books
from router.ports.catalog import SnapshotSource
from router.ports.cluster import Cluster, Member
from router.ports.idempotency import IdempotencyStore
from router.ports.records import NO_LOSSES, Recorder
from router.ports.responses import ResponseStore
from router.ports.upstream import Upstream
from router.scheduling.fleet.yielding import Yielding
from router.scheduling.scheduler import Scheduler
from router.scheduling.waiting.starting import Starts
from router.settings import Limits, Settings
from router.upstream.anthropic_http import AnthropicUpstream
from router.upstream.engine_reports import MetricsReports
from router.upstream.http import HTTPClient
from router.upstream.oip_grpc import GRPCTransport
from router.upstream.oip_http import HTTPTransport, OIPUpstream
from router.upstream.openai_http import OpenAIUpstream
from router.upstream.own import OWN_LOOKUPS_MAX, EndpointKeys, OwnUpstream


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


class Stores(Struct, frozen=True):
    """Where a router gets its catalog and keeps money, records and answers.

    A standalone router has no ``kept`` snapshot, no ``cluster`` and no place for ``refusals``.
    """

    vault: Vault
    recorder: MemoryRecorder | Settler
    books: Books
    answers: IdempotencyStore
    responses: ResponseStore
    source: SnapshotSource
    kept: SnapshotFile | None = None
    cluster: Cluster | None = None
    refusals: Refusals | None = None


class Router(Struct, frozen=True):
    """What listens to clients and follows the catalog, and its background tasks.

    ``view``, ``forwarder`` and ``remembering`` are None if it is standalone.
    """

    gateway: Gateway
    operations: Operations
    api: API
    view: ClusterView | None
    forwarder: Forwarder | None
    remembering: Remembering | None
    polls: EnginePolls | None
    following: KvFollowing


class _Path(Struct, frozen=True):
    """What a call passes through, and what remembers it."""

    dispatcher: Dispatcher
    limiter: RateLimiter
    gateway: Gateway
    recent: RecentCalls
    histories: Histories
    meters: Meters


async def compose(settings: Settings, stores: Stores, closing: AsyncExitStack) -> Router:
    """Build a router. ``closing`` closes what it opens."""
    limits = settings.limits
    client = await _open_to_workers(settings, closing)
    upstreams = _upstreams(settings, client, closing) | await _own_upstreams(settings, closing)
    path = _path(settings, stores, upstreams, closing)
    view = forwarder = remembering = None
    if stores.cluster is not None:
        view = _view(settings, stores.cluster, path)
        to_routers = await _open_to_routers(limits, closing)
        forwarder = Forwarder(view, to_routers, settings.key_pepper, limits.answer_bytes_max)
        path.gateway.guarding.elsewhere = OwnersJudge(forwarder, settings.key_pepper)
        remembering = _remembering(settings, path)
    interval_s = limits.engine_poll_s
    polls = EnginePolls(path.dispatcher, MetricsReports(client, limits), interval_s=interval_s)
    operations = _operations(settings, stores.recorder, path, view, polls)
    jobs = await _open_to_jobs(settings, closing)
    api = API(
        path.gateway,
        operations,
        Account(path.gateway, path.recent, stores.books, forwarder),
        Idempotency(stores.answers, limits),
        Turns(path.gateway, stores.responses, limits, jobs),
        path.histories,
        limits=limits,
        forwarder=forwarder,
        jobs=jobs,
        trace_share=settings.trace_share,
    )
    asked = polls if interval_s else None
    following = _following(settings, path, closing)
    return Router(path.gateway, operations, api, view, forwarder, remembering, asked, following)


def _path(
    settings: Settings,
    stores: Stores,
    upstreams: Mapping[str, Upstream],
    closing: AsyncExitStack,
) -> _Path:
    limits = settings.limits
    scheduler = Scheduler(
        queue_max=limits.queue_max,
        random=random.random,
        yielding=Yielding(limits.batch_slot_share, limits.batch_quiet_s),
        prefix_blocks_max=limits.prefix_blocks_max,
        kv_blocks_max=limits.kv_blocks_max,
    )
    dispatcher = Dispatcher(scheduler, upstreams, clock=time.monotonic)
    limiter = RateLimiter(time.monotonic)
    recent = RecentCalls(_observed(settings, stores.recorder, closing))
    histories = Histories(recent, clock=time.time)
    meters = Meters(histories)
    gateway = Gateway(
        router_id=settings.router_id,
        key_pepper=settings.key_pepper,
        dispatcher=dispatcher,
        attempts=Attempts(dispatcher, upstreams, histories, limits),
        room=WaitingRoom(
            Starts(limits.queue_max), wait_s=limits.start_wait_s, clock=time.monotonic
        ),
        vault=stores.vault,
        limiter=limiter,
        masking=Masking(PatternDetector()),
        recorder=meters,
        checkpoint=stores.recorder.checkpoint,
        stream_max_s=limits.stream_max_s,
        hardware_max_s=limits.hardware_max_s,
        # A fleet file does not grow old.
        snapshot_age_max_s=limits.snapshot_age_max_s if stores.cluster is not None else inf,
        refusals=stores.refusals,
    )
    return _Path(dispatcher, limiter, gateway, recent, histories, meters)


def _operations(
    settings: Settings,
    recorder: MemoryRecorder | Settler,
    path: _Path,
    view: ClusterView | None,
    polls: EnginePolls,
) -> Operations:
    return Operations(
        path.gateway,
        path.dispatcher,
        path.meters,
        limits=settings.limits,
        router_id=settings.router_id,
        admin_token=settings.admin_token,
        unsettled=lambda: recorder.unsettled,
        losses=lambda: recorder.losses,
        routers=lambda: view.members if view is not None else (),
        polls=polls,
    )


async def _open_to_workers(settings: Settings, closing: AsyncExitStack) -> HTTPClient:
    policy = AddressPolicy(settings.upstream_networks)
    return await closing.enter_async_context(HTTPClient(settings.limits, policy))


def _upstreams(
    settings: Settings, client: HTTPClient, closing: AsyncExitStack
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


async def _own_upstreams(settings: Settings, closing: AsyncExitStack) -> dict[str, Upstream]:
    """Those of organisations' own endpoints, which are not where the market's workers may be."""
    limits, networks = settings.limits, settings.endpoint_networks
    client = HTTPClient(
        limits,
        AddressPolicy(networks),
        plain=AddressPolicy(networks, public=False),
        lookups_max=OWN_LOOKUPS_MAX,
    )
    await closing.enter_async_context(client)
    sealed_by = (*settings.endpoint_secrets_keys, settings.key_pepper)
    keys = EndpointKeys(SecretsVault(sealed_by, ENDPOINT_KEYS))
    openai = OpenAIUpstream(client, limits, keys.bearer)
    anthropic = AnthropicUpstream(client, limits, keys.anthropic)
    return {
        OWN_OPENAI: OwnUpstream(openai, client, keys, keys.bearer),
        OWN_ANTHROPIC: OwnUpstream(anthropic, client, keys, keys.anthropic),
    }


async def _open_to_routers(limits: Limits, closing: AsyncExitStack) -> HTTPClient:
    # The owner may let a call wait for a start, then in its queue, and then for its worker.
    silence_s = limits.start_wait_s + limits.queue_wait_s + limits.silence_timeout_s
    client = HTTPClient(limits, AddressPolicy(EVERYWHERE), silence_s=silence_s)
    return await closing.enter_async_context(client)


async def _open_to_jobs(settings: Settings, closing: AsyncExitStack) -> PassThrough | None:
    if not settings.jobs_url:
        return None
    return await closing.enter_async_context(PassThrough(settings.jobs_url, settings.limits))


def _observed(settings: Settings, recorder: Recorder, closing: AsyncExitStack) -> Recorder:
    """The recorder, behind those that log or trace each call if the settings ask for them."""
    if settings.log_calls:
        recorder = CallLog(recorder)
    if settings.trace_share is not None:
        recorder = spans = SpanRecorder(recorder)
        closing.push_async_callback(asyncio.to_thread, spans.close)
    return recorder


def _view(settings: Settings, cluster: Cluster, path: _Path) -> ClusterView:
    me = Member(settings.router_id, settings.advertised_url)
    ttl_s = settings.limits.member_ttl_s
    return ClusterView(
        me, cluster, path.dispatcher, path.limiter, ttl_s=ttl_s, clock=time.monotonic
    )


def _following(settings: Settings, path: _Path, closing: AsyncExitStack) -> KvFollowing:
    source = ZmqKvEvents(AddressPolicy(settings.upstream_networks), settings.limits)
    closing.callback(source.close)
    return KvFollowing(path.dispatcher, source, clock=time.monotonic)


def _remembering(settings: Settings, path: _Path) -> Remembering | None:
    """Keeps what was learned of workers over restarts, if the settings ask for it."""
    age_max_s = settings.limits.learned_max_age_s
    if not age_max_s:
        return None
    # One file per port, like the journal: each router learns from the workers that it uses.
    file = LearnedFile(settings.home / "learned" / f"{settings.port}.json")
    return Remembering(
        path.dispatcher, path.gateway.counts, file, age_max_s=age_max_s, clock=time.time
    )
