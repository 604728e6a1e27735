"""Follows what engines say of their KV caches: a ZeroMQ SUB socket, and a DEALER for replays.

vLLM and SGLang publish ``(topic, number, batch)``, with numbers from 0 in 8 bytes, big endian. A
request for a replay is ``("", number)``. Its answers are ``("", number, batch)`` for that one and
all later ones that are kept (10,000 by default), and then the number -1: ``ZmqEventPublisher`` in
vLLM's ``distributed/kv_events.py`` (0181ea3) and in SGLang's ``srt/disaggregation/kv_events.py``
(006d053).

Messages can be lost: what comes before the connection, and what is sent faster than it is read. A
gap is closed by a replay, or else it is told. A connection that breaks is told too, as another
engine may be there afterwards. If that one replays everything from number 0, all is known again.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from math import inf
from urllib.parse import urlsplit

import zmq
import zmq.asyncio
from msgspec import Struct
from zmq.utils.monitor import parse_monitor_message

from router.contracts.engines.kv_events import Cleared, KvEvent, decode_kv_events
from router.domain.addresses import AddressPolicy, host_and_port
from router.domain.catalog import Worker
from router.settings import Limits

RETRY_S = 1.0
"""How long after a broken connection the next one is tried."""

CHECK_MS = 1_000
"""How often a silent connection is looked at."""

RESOLVE_S = 30.0
"""How long an engine that is not there is waited for before its name is resolved again."""

REPLAY_MS = 2_000
"""The longest time to the next message of a replay."""

UNREAD_MAX = 1_000
"""Messages that wait unread; later ones are lost, and then missed."""

HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 2_000, 6_000
NUMBER_BYTES = 8
NUMBER_MAX = 2**63 - 1
"""The end of a replay is a number above this, as are numbers that no engine comes to."""

SAY_S = 60.0
"""At least this long is between two lines in the log about an engine."""

REASON_MAX = 200

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """An engine's events cannot be read now, and why."""


class _Message(Struct, frozen=True, gc=False):
    """``events`` is None if they are not valid."""

    number: int
    events: Sequence[KvEvent] | None


class ZmqKvEvents:
    """See :class:`router.ports.upstream.KvEvents`.

    ``policy`` says which addresses may be connected to.
    """

    def __init__(self, policy: AddressPolicy, limits: Limits) -> None:
        self._policy = policy
        self._bytes_max = limits.kv_message_bytes_max
        self._context = zmq.asyncio.Context()
        self._said_s: dict[str, float] = {}

    def close(self) -> None:
        """Close all sockets."""
        self._context.destroy(linger=0)

    async def follow(self, worker: Worker) -> AsyncGenerator[Sequence[KvEvent] | None, None]:
        """Follow a worker, and connect again whenever that ends."""
        while True:
            try:
                async with aclosing(self._heard(worker)) as heard:
                    async for events in heard:
                        yield events
            except (Unreachable, zmq.ZMQError, OSError) as error:
                self._say(worker, str(error))
            yield None
            await asyncio.sleep(RETRY_S)

    async def _heard(self, worker: Worker) -> AsyncGenerator[Sequence[KvEvent] | None, None]:
        """What comes over one connection; None where something is missing."""
        host, expected = await self._host(worker), 0
        with self._socket(zmq.SUB, host, worker.kv_events_port) as subscriber:
            watch = _Watch(subscriber)
            while True:
                message = self._read(worker, await watch.next())
                if message is None:
                    yield None
                    continue
                if message.number not in (0, expected):
                    replay = self._replay(host, worker, expected, message.number)
                    async with aclosing(replay) as replayed:
                        async for events in replayed:
                            yield events
                expected = message.number + 1
                yield message.events

    async def _replay(
        self, host: str, worker: Worker, expected: int, until: int
    ) -> AsyncGenerator[Sequence[KvEvent] | None, None]:
        """What was said from number ``expected`` to before ``until``; None if it is incomplete."""
        if expected > until or not worker.kv_replay_port:
            yield None
            return
        with self._socket(zmq.DEALER, host, worker.kv_replay_port) as dealer:
            await dealer.send(b"", zmq.SNDMORE)
            await dealer.send(expected.to_bytes(NUMBER_BYTES, "big"))
            while expected < until:
                if not await dealer.poll(REPLAY_MS):
                    break
                message = self._read(worker, await dealer.recv_multipart())
                if message is None or message.number != expected:
                    break
                expected += 1
                yield message.events
        if expected < until:
            yield None

    def _read(self, worker: Worker, frames: Sequence[bytes]) -> _Message | None:
        """A message with its topic or empty frame before it; None if it has no number."""
        if len(frames) != 3 or len(frames[1]) != NUMBER_BYTES:
            self._say(worker, f"a message has three frames and a number, not {len(frames)} frames")
            return None
        number = int.from_bytes(frames[1], "big")
        if number > NUMBER_MAX:
            return None
        try:
            events = decode_kv_events(frames[2])
        except ValueError as error:
            self._say(worker, str(error))
            return _Message(number, None)
        # With number 0 an engine's life begins, with an empty cache.
        return _Message(number, events if number else [Cleared(), *events])

    async def _host(self, worker: Worker) -> str:
        """An address of a worker that may be connected to."""
        loop = asyncio.get_running_loop()
        try:
            name = urlsplit(worker.url).hostname or ""
            found = await loop.getaddrinfo(name, worker.kv_events_port, type=socket.SOCK_STREAM)
        except ValueError as error:
            raise Unreachable("a worker's host is no name") from error
        addresses = (str(info[4][0]) for info in found)
        address = next((item for item in addresses if self._policy.allows(item)), None)
        if address is None:
            raise Unreachable("its address is refused, see ROUTER_UPSTREAM_NETWORKS")
        return address

    @contextmanager
    def _socket(self, kind: int, host: str, port: int) -> Generator[zmq.asyncio.Socket]:
        made = self._context.socket(kind)
        try:
            made.setsockopt(zmq.LINGER, 0)
            made.setsockopt(zmq.IPV6, 1)
            made.setsockopt(zmq.RCVHWM, UNREAD_MAX)
            made.setsockopt(zmq.MAXMSGSIZE, self._bytes_max)
            made.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
            made.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
            if kind == zmq.SUB:
                made.setsockopt(zmq.SUBSCRIBE, b"")
            made.connect(f"tcp://{host_and_port(host, port)}")
            yield made
        finally:
            made.close()

    def _say(self, worker: Worker, reason: str) -> None:
        """Log it, once in a while."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._said_s.get(worker.id, -inf) >= SAY_S:
            self._said_s[worker.id] = now_s
            log.warning("KV cache events of %s: %s", worker.id, reason[:REASON_MAX])


class _Watch:
    """Reads from a socket as long as its connection holds."""

    def __init__(self, subscriber: zmq.asyncio.Socket) -> None:
        self._subscriber = subscriber
        ends = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
        # Read without waiting, so that it needs no place in the event loop.
        self._monitor: zmq.Socket[bytes] = zmq.Socket(
            shadow=subscriber.get_monitor_socket(ends).underlying
        )
        self._is_connected = False
        self._waits_until_s = asyncio.get_running_loop().time() + RESOLVE_S

    async def next(self) -> list[bytes]:
        """The next message. Raises :class:`Unreachable` once there is no connection."""
        while True:
            is_there = await self._subscriber.poll(CHECK_MS)
            self._check()
            if is_there:
                return await self._subscriber.recv_multipart()

    def _check(self) -> None:
        try:
            while True:
                frames = self._monitor.recv_multipart(zmq.NOBLOCK)
                event = parse_monitor_message(frames)["event"]
                if event == zmq.Event.DISCONNECTED:
                    raise Unreachable("the connection is broken")
                self._is_connected = True
        except zmq.Again:
            pass
        if not self._is_connected and asyncio.get_running_loop().time() > self._waits_until_s:
            raise Unreachable("nobody is there")
