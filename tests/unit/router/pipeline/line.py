"""A gateway on in-memory parts: a scripted upstream behind it, a recording client before it."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from math import inf

import msgspec

from router.adapters.memory import MemoryBank, MemoryLedger
from router.adapters.patterns import PatternDetector
from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Endpoint, Model, Pool, Worker
from router.domain.errors import CallError
from router.domain.keys import digest_key
from router.domain.pricing import Price, Usage
from router.domain.protocols import PROTOCOL_KINDS
from router.domain.request import InferenceRequest, Kind
from router.metering.vault import Vault
from router.pipeline.access.masking import Masking
from router.pipeline.access.rate_limit import RateLimiter
from router.pipeline.access.refusals import Refusals
from router.pipeline.attempts.attempts import Attempts
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.attempts.starting import WaitingRoom
from router.pipeline.gateway import Gateway
from router.pipeline.holds.counting import WorkerCounts
from router.pipeline.holds.holding import Holding
from router.pipeline.plans.routing_table import build_table
from router.pipeline.recorders.history import Histories
from router.pipeline.recorders.meters import Meters
from router.pipeline.recorders.recent import RecentCalls
from router.pipeline.settlement.route_report import Report
from router.ports.upstream import Answer, StreamPart, Upstream, UpstreamFailed
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.scheduler import Scheduler
from router.scheduling.waiting.starting import Starts
from router.settings import Limits
from tests.unit.router.ingress.reading import parse_call

PEPPER = b"pepper"
QUEUE_MAX = 10
KEY = "wp_live_test"
ACCOUNT = 7
FUNDS_NANO = 1_000_000_000
PRICE = Price(3, prompt_nano_per_million=10**9, completion_nano_per_million=2 * 10**9)
USED = Usage(prompt_tokens=10, completion_tokens=4)
COST_NANO = 10 * 1_000 + 4 * 2_000
ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
TOKENS = [StreamPart(b"data: one\n\n", 1), StreamPart(b"data: two\n\n", 1)]
LAST = StreamPart(b"data: end\n\n", 0, USED, "stop", done=True)
BROKEN = UpstreamFailed("reset")
NOTHING_LEARNED = Holding(WorkerCounts(), TokenEstimates())

Step = StreamPart | Exception | asyncio.Event


def snapshot(*, workers: int = 2, draining: bool = False, healthy: bool = True) -> Snapshot:
    """One chat model of two providers on ``workers`` workers each way."""
    return Snapshot(
        version=1,
        published_at_ms=0,
        models=(
            Model("a/m", "chat", "1", 0, completion_tokens_max=100),
            Model("a/t", "tabular", "1", 0),
        ),
        pools=(Pool("one", "gpu"), Pool("two", "gpu"), Pool("tensors", "cpu")),
        workers=(
            *(
                Worker(f"one-{i}", "one", "http://x", "openai", 4, healthy, draining)
                for i in range(workers)
            ),
            Worker("two-0", "two", "http://x", "openai", 4, healthy, draining),
            Worker("tensor-0", "tensors", "http://x", "oip", 4),
        ),
        deployments=(
            Deployment(1, "a/m", "north", 21, "one", "a/m", PRICE, commission_bps=1000),
            Deployment(2, "a/m", "south", 22, "two", "a/m", PRICE, service_prior_ms=9_000),
            Deployment(3, "a/t", "north", 21, "tensors", "t", Price(4, row_nano=100)),
        ),
        keys=(ApiKey(5, digest_key(KEY, PEPPER), organisation_id=1, account_id=ACCOUNT),),
    )


def told(report: Report | None) -> Report:
    """As it is once it was JSON."""
    made: Report = msgspec.json.decode(msgspec.json.encode(report or {}))
    return made


@dataclass
class FakeClient:
    """Keeps what it was sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    report: Report = field(default_factory=dict)
    ended: bool = False
    ended_by: str = ""
    """The code of the error that ended a stream."""

    async def answer(
        self, headers: list[tuple[str, str]], body: bytes, report: Report | None
    ) -> None:
        self.status, self.headers, self.body, self.ended = 200, dict(headers), body, True
        self.report = told(report)

    async def start_stream(self, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = 200, dict(headers)

    async def send(self, chunk: bytes) -> None:
        self.body += chunk

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        self.ended, self.report = True, told(report)
        self.ended_by = error.code if error is not None else ""


class FakeUpstream:
    """Answers by a script: ``script(endpoint)`` gives an answer, an error, or stream steps."""

    def __init__(
        self, script: Callable[[Endpoint], Answer | Exception | asyncio.Event | list[Step]]
    ) -> None:
        self.script = script
        self.called: list[str] = []
        self.closed = 0
        self.probed: list[str] = []

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self.called.append(endpoint.worker.id)
        outcome = self.script(endpoint)
        try:
            if isinstance(outcome, asyncio.Event):
                await outcome.wait()
            if isinstance(outcome, Exception):
                raise outcome
            assert isinstance(outcome, Answer)
            return outcome
        finally:
            self.closed += 1

    async def probe(self, endpoint: Endpoint) -> None:
        self.probed.append(endpoint.worker.id)

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        self.called.append(endpoint.worker.id)
        steps = self.script(endpoint)
        try:
            for step in steps if isinstance(steps, list) else [steps]:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed += 1


class Line:
    """The gateway under test, and what stands around it."""

    def __init__(
        self,
        upstream: FakeUpstream | Upstream,
        *,
        funds_nano: int = FUNDS_NANO,
        catalog: Snapshot | None = None,
        limits: Limits | None = None,
        lease_nano: int = 1,
        refusals: Refusals | None = None,
        snapshot_age_max_s: float = inf,
    ) -> None:
        self.upstream = upstream
        self.ledger = MemoryLedger(clock=lambda: 0.0, balances_nano={ACCOUNT: funds_nano})
        self.records: list[UsageRecord] = []
        numbers = itertools.count()
        self.vault = Vault(
            MemoryBank(self.ledger, router_id="r"),
            lease_nano=lease_nano,
            lease_ttl_s=600,
            clock=lambda: 0.0,
            new_id=lambda: f"lease-{next(numbers)}",
        )
        self.checkpoints: list[UsageRecord] = []
        self.scheduler = Scheduler(queue_max=QUEUE_MAX, random=random.Random(5).random)
        self.recent = RecentCalls(self)
        self.histories = Histories(self.recent, clock=time.time)
        self.meters = Meters(self.histories)
        upstreams = dict.fromkeys(PROTOCOL_KINDS, upstream)
        dispatcher = self.dispatcher = Dispatcher(
            self.scheduler, upstreams, clock=asyncio.get_running_loop().time
        )
        self.attempts = Attempts(
            dispatcher,
            upstreams,
            self.histories,
            limits or Limits(),
        )
        self.gateway = Gateway(
            router_id="r",
            key_pepper=PEPPER,
            dispatcher=dispatcher,
            attempts=self.attempts,
            room=WaitingRoom(
                Starts(QUEUE_MAX),
                wait_s=(limits or Limits()).start_wait_s,
                clock=asyncio.get_running_loop().time,
            ),
            vault=self.vault,
            limiter=RateLimiter(asyncio.get_running_loop().time),
            masking=Masking(PatternDetector()),
            recorder=self.meters,
            checkpoint=self.checkpoints.append,
            hardware_max_s=Limits().hardware_max_s,
            stream_max_s=(limits or Limits()).stream_max_s,
            refusals=refusals,
            snapshot_age_max_s=snapshot_age_max_s,
        )
        self.gateway.use(build_table(catalog or snapshot()))

    def admit(self) -> None:
        """Always."""

    def append(self, record: UsageRecord) -> None:
        self.records.append(record)

    @property
    def unresolved_nano(self) -> int:
        """Leased credit that neither came back nor was charged: what a leak would show."""
        charged = sum(record.charge_nano for record in self.records)
        return sum(self.ledger.held.values()) - self.vault.book.held_nano() - charged

    @property
    def slots_taken(self) -> int:
        return sum(len(worker.inflight) for worker in self.scheduler.fleet.workers.values())

    async def call(self, *, client: FakeClient | None = None, **fields: object) -> FakeClient:
        client = client or FakeClient()
        grant = self.gateway.authenticate(f"Bearer {KEY}")
        await self.gateway.serve(grant, chat(**fields), client)
        return client


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn, without time, until the condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def in_time(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds, for what a timer of the router brings about."""
    for _ in range(6_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come true within half a minute")


def chat(**fields: object) -> InferenceRequest:
    """A chat call with a 14-byte prompt."""
    explain = bool(fields.pop("explain", False))
    body = {"model": "a/m", "messages": [{"role": "u"}], "max_tokens": 8, **fields}
    return parse_call(
        Kind.CHAT,
        msgspec.json.encode(body),
        request_id="0193-test",
        explain=explain,
        arrived_s=asyncio.get_running_loop().time(),
        created_at_ms=0,
    )
