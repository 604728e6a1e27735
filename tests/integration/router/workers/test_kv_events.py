"""What engines publish of their KV caches, over real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from router.adapters import kv_events
from router.adapters.kv_events import ZmqKvEvents
from router.contracts.engines.kv_events import Cleared, KvEvent, Removed, Stored
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Endpoint, Worker
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet import kv_following
from router.pipeline.fleet.kv_following import KvFollowing
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.caches import kv_chains
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Used
from router.settings import Limits
from tests.unit.router.kv_events.engine import CachingEngine, text_blocks
from tests.unit.router.scheduling.fleets import endpoint, place

WAIT_S = 20.0
Heard = Sequence[KvEvent] | None


class Publisher:
    """Publishes and replays as ``ZmqEventPublisher`` of vLLM (0181ea3) does. Its PUB socket is an
    XPUB, which tells when somebody has subscribed.
    """

    def __init__(
        self, context: zmq.asyncio.Context, port: int = 0, *, replays: bool = True
    ) -> None:
        self._pub = context.socket(zmq.XPUB)
        self._router = context.socket(zmq.ROUTER)
        self.port = port or self._pub.bind_to_random_port("tcp://127.0.0.1")
        if port:
            self._pub.bind(f"tcp://127.0.0.1:{port}")
        replay_port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self.replay_port = replay_port if replays else 0
        self._replaying = asyncio.create_task(self._replay())
        self.sent: list[bytes] = []
        self.first_kept = 0
        self.replays = 0

    def close(self) -> None:
        self._replaying.cancel()
        self._pub.close(linger=0)
        self._router.close(linger=0)

    async def subscribed(self) -> None:
        assert await self._pub.recv() == b"\x01"

    async def publish(self, *events: Any, lost: bool = False, raw: bytes | None = None) -> None:
        """Send a batch; one that is ``lost`` can only be replayed."""
        payload = raw if raw is not None else msgspec.msgpack.encode([1.0, events, 0])
        number = len(self.sent).to_bytes(8, "big")
        self.sent.append(payload)
        if not lost:
            await self._pub.send_multipart((b"kv", number, payload))

    async def _replay(self) -> None:
        while True:
            client, _, number = await self._router.recv_multipart()
            self.replays += 1
            for kept, payload in enumerate(self.sent):
                if kept >= max(int.from_bytes(number, "big"), self.first_kept):
                    frames = (client, b"", kept.to_bytes(8, "big"), payload)
                    await self._router.send_multipart(frames)
            end = (-1).to_bytes(8, "big", signed=True)
            await self._router.send_multipart((client, b"", end, b""))


@pytest.fixture
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    made = zmq.asyncio.Context()
    yield made
    made.destroy(linger=0)


def worker_of(publisher: Publisher) -> Worker:
    return Worker(
        "w",
        "pool",
        "http://127.0.0.1:1",
        "openai",
        1,
        kv_events_port=publisher.port,
        kv_replay_port=publisher.replay_port,
    )


@asynccontextmanager
async def following(
    publisher: Publisher, policy: AddressPolicy | None = None, limits: Limits | None = None
) -> AsyncIterator[Callable[[], Any]]:
    """A reader, which gives what it hears next."""
    source = ZmqKvEvents(policy or AddressPolicy(EVERYWHERE), limits or Limits())
    try:
        async with aclosing(source.follow(worker_of(publisher))) as heard:

            async def hear() -> Heard:
                return await asyncio.wait_for(anext(heard), WAIT_S)

            yield hear
    finally:
        source.close()


async def both(hear: Callable[[], Any], publisher: Publisher, *events: Any, **more: Any) -> Heard:
    """What is heard first of a publisher that sends this once somebody has subscribed."""

    async def publish() -> None:
        await publisher.subscribed()
        await publisher.publish(*events, **more)

    heard, _ = await asyncio.gather(hear(), publish())
    return heard


def removed(name: int) -> list[Any]:
    return ["BlockRemoved", [name], "GPU"]


async def test_what_is_published_is_heard_in_order(context: zmq.asyncio.Context) -> None:
    publisher = Publisher(context)
    stored = ["BlockStored", [1, 2], None, [5], 16, None, "GPU"]
    async with following(publisher) as hear:
        assert await both(hear, publisher, stored) == [Cleared(), Stored((1, 2), None, 16)]
        for name in range(3):
            await publisher.publish(removed(name))
        assert [await hear() for _ in range(3)] == [[Removed((name,))] for name in range(3)]
    assert publisher.replays == 0
    publisher.close()


async def test_what_was_said_before_is_replayed(context: zmq.asyncio.Context) -> None:
    publisher = Publisher(context)
    await publisher.publish(removed(0))
    await publisher.publish(removed(1))
    async with following(publisher) as hear:
        assert await both(hear, publisher, removed(2)) == [Cleared(), Removed((0,))]
        assert [await hear(), await hear()] == [[Removed((1,))], [Removed((2,))]]
    publisher.close()


@pytest.mark.parametrize("replays", [True, False])
async def test_a_gap_is_closed_by_a_replay_or_told(
    context: zmq.asyncio.Context, replays: bool
) -> None:
    publisher = Publisher(context, replays=replays)
    async with following(publisher) as hear:
        await both(hear, publisher, removed(0))
        await publisher.publish(removed(1), lost=True)
        await publisher.publish(removed(2), lost=True)
        await publisher.publish(removed(3))
        between = [[Removed((1,))], [Removed((2,))]] if replays else [None]
        assert [await hear() for _ in between] == between
        assert await hear() == [Removed((3,))]
    publisher.close()


async def test_a_replay_that_does_not_go_back_far_enough_is_told(
    context: zmq.asyncio.Context,
) -> None:
    publisher = Publisher(context)
    async with following(publisher) as hear:
        await both(hear, publisher, removed(0))
        await publisher.publish(removed(1), lost=True)
        await publisher.publish(removed(2), lost=True)
        publisher.first_kept = 2
        await publisher.publish(removed(3))
        assert [await hear(), await hear()] == [None, [Removed((3,))]]
    publisher.close()


async def test_what_is_not_valid_is_told_and_the_rest_is_heard(
    context: zmq.asyncio.Context,
) -> None:
    publisher = Publisher(context)
    async with following(publisher) as hear:
        await both(hear, publisher, removed(0))
        await publisher.publish(raw=b"\x93\x01")
        await publisher._pub.send_multipart((b"kv", b"short", b""))
        await publisher._pub.send_multipart((b"alone",))
        await publisher._pub.send_multipart((b"kv", b"\xff" * 8, publisher.sent[0]))
        await publisher.publish(removed(1))
        assert [await hear() for _ in range(5)] == [None] * 4 + [[Removed((1,))]]
    publisher.close()


async def test_a_message_that_is_too_large_ends_the_connection_and_no_more(
    context: zmq.asyncio.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_events, "RETRY_S", 0.01)
    publisher = Publisher(context, replays=False)
    async with following(publisher, limits=Limits(kv_message_bytes_max=2_000)) as hear:
        await both(hear, publisher, removed(0))
        await publisher.publish(raw=b"x" * 3_000)
        assert await hear() is None
        again = asyncio.ensure_future(hear())
        while not again.done():  # Until it is there again.
            await publisher.publish(removed(5))
            await asyncio.wait([again], timeout=0.05)
        assert await again is None  # What it said meanwhile is lost.
        assert await hear() == [Removed((5,))]
    publisher.close()


async def test_an_engine_that_restarts_has_nothing(
    context: zmq.asyncio.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_events, "RETRY_S", 0.01)
    publisher = Publisher(context)
    async with following(publisher) as hear:
        await both(hear, publisher, removed(0))
        port = publisher.port
        publisher.close()
        assert await hear() is None
        reborn = Publisher(context, port)
        assert await both(hear, reborn, removed(7)) == [Cleared(), Removed((7,))]
        reborn.close()


async def test_an_address_that_may_not_be_connected_to_is_left_alone(
    context: zmq.asyncio.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_events, "RETRY_S", 0.0)
    publisher = Publisher(context)
    nonsense = msgspec.structs.replace(worker_of(publisher), url="http://[::1")
    async with aclosing(ZmqKvEvents(AddressPolicy(EVERYWHERE), Limits()).follow(nonsense)) as heard:
        assert await anext(heard) is None
    async with following(publisher, AddressPolicy()) as hear:
        assert [await hear() for _ in range(3)] == [None] * 3
    with pytest.raises(zmq.Again):
        zmq.Socket(shadow=publisher._pub.underlying).recv(zmq.NOBLOCK)  # Nobody came.
    publisher.close()


class Idle:
    """A worker that answers probes."""

    async def probe(self, _: Endpoint) -> None:
        pass


class Listening(Dispatcher):
    """Tells when something was heard."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.heard = asyncio.Event()

    def kv_events(self, worker_id: str, events: Heard) -> None:
        super().kv_events(worker_id, events)
        self.heard.set()


async def test_a_router_follows_who_publishes_and_forgets_what_is_gone(
    context: zmq.asyncio.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv_following, "LOOK_S", 0.02)
    monkeypatch.setattr(kv_chains, "SETTLE_S", 0.0)  # Here all events come before the end.
    publisher, engine = Publisher(context), CachingEngine(64)
    scheduler = Scheduler(queue_max=10, random=random.Random(1).random)
    dispatcher = Listening(scheduler, {"openai": Idle()}, clock=asyncio.get_running_loop().time)
    one = endpoint("w", service_ms=0.0)
    published = msgspec.structs.replace(one, worker=worker_of(publisher))
    dispatcher.apply([published])
    source = ZmqKvEvents(AddressPolicy(EVERYWHERE), Limits())
    running = asyncio.create_task(KvFollowing(dispatcher, source, clock=dispatcher._clock).run())
    await asyncio.wait_for(publisher.subscribed(), WAIT_S)

    async def call(name: str, text: bytes) -> float:
        """One call, and how many tokens were expected to be cached."""
        attempt = place(
            scheduler,
            name,
            one.id,
            now_s=asyncio.get_running_loop().time(),
            streams=True,
            prefix=text_blocks(text),
            prompt_bytes=len(text),
            prompt_tokens=len(text) / 4,
            answer_tokens=10.0,
        )
        request = engine.begin(text)
        engine.answer(request, b"an answer of some tokens")
        dispatcher.heard.clear()
        await publisher.publish(raw=msgspec.msgpack.encode(engine.taken()))
        await asyncio.wait_for(dispatcher.heard.wait(), WAIT_S)
        counts = request.prompt_tokens, request.cached_tokens, 6
        dispatcher.ended(attempt, ANSWERED, used=Used(*counts))
        return attempt.cached_tokens

    one_text, other = random.Random(1).randbytes(2_700), random.Random(2).randbytes(2_700)
    assert await call("1", one_text) == 0
    assert await call("2", other) == 0
    followed = scheduler.kv_followed("w")
    assert followed is not None
    assert followed.matched == 1
    there = engine.cached_tokens(one_text)
    assert there < 400
    assert abs(await call("3", one_text) - there) < 130
    dispatcher.heard.clear()
    dispatcher.apply([one])  # The catalog does not say any more that it publishes anything.
    await asyncio.wait_for(dispatcher.heard.wait(), WAIT_S)
    followed = scheduler.kv_followed("w")
    assert followed is not None
    assert followed.blocks == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    source.close()
    publisher.close()
