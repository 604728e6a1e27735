"""LLM engines as workers: the simulator's engine, with its steps in real time."""

from math import inf

import msgspec
from msgspec import Struct

from router.domain.request import BYTES_PER_TOKEN
from router.simulator.engines.batching import EngineSpec, EngineState, Sequence, one_segment
from router.simulator.engines.kv_cache import BLOCK_TOKENS
from router.simulator.engines.scenarios import EVENT_TOKENS
from router.simulator.engines.sessions import SYSTEM_TOKENS, TURN_TOKENS
from tests.judge.figures.percentiles import percentile
from tests.judge.timer import Alarm, Timer, now_s
from tests.judge.workers.fleet import (
    Load,
    Server,
    Speaks,
    Tally,
    called,
    event,
    usage,
    usage_event,
    whole,
)
from tests.judge.workers.hardware import Worker
from tests.judge.workers.http_server import Exchange

RATE_S = 0.5
TEMPLATE_TOKENS = {"system": SYSTEM_TOKENS, "user": TURN_TOKENS}
EVENT_CHARS = EVENT_TOKENS * BYTES_PER_TOKEN


class Message(Struct, frozen=True):
    """One message of a chat."""

    role: str
    content: str


class Body(Struct, frozen=True):
    """What an engine reads of a request."""

    messages: list[Message]
    stream: bool = False
    max_tokens: int | None = None


body_of = msgspec.json.Decoder(Body).decode


def answer_event(number: int, at: int) -> str:
    """The text of one event of an answer, as long as its tokens."""
    return f"tok {at} of answer {number} ".ljust(EVENT_CHARS, ".")


def answer_text(number: int, events: int) -> str:
    """The whole answer."""
    return "".join(answer_event(number, at) for at in range(events))


def prompt_chain(messages: list[Message]) -> tuple[list[tuple[int, int]], int]:
    """A prompt's segments in the cache, each named for everything before it too, and its tokens."""
    chain: list[tuple[int, int]] = []
    name = tokens = 0
    for message in messages:
        name = hash((name, message.role, message.content))
        tokens += len(message.content) // BYTES_PER_TOKEN + TEMPLATE_TOKENS.get(message.role, 0)
        if (end := tokens // BLOCK_TOKENS) > (chain[-1][1] if chain else 0):
            chain.append((name, end))
    return chain, tokens


def sequence_of(body: Body) -> tuple[Sequence, int]:
    """The work of an engine for a request, and the request's number."""
    number, events = called(body.messages[-1].content.encode())
    events = max(1, min(events, body.max_tokens or events))
    chain, tokens = prompt_chain(body.messages)
    answer = Message("assistant", answer_text(number, events))
    (*_, (answer_name, _)), _ = prompt_chain([*body.messages, answer])
    return Sequence(chain, tokens, events, one_segment(answer_name)), number


class _Call(Struct):
    exchange: Exchange
    number: int
    streamed: bool
    sent: int = 0


class EngineServer(Server):
    """An engine with a port."""

    def __init__(self, worker: Worker, port: int, timer: Timer, speaks: Speaks) -> None:
        super().__init__(worker, port, timer, speaks)
        assert isinstance(worker.hardware, EngineSpec)
        self.state = EngineState(worker.hardware)
        self._calls: dict[Exchange, Sequence] = {}
        self._alarm: Alarm | None = None
        self._late_s: list[float] = []
        self._before = (0.0, 0)
        self._events = 0
        self._generated = (now_s(), 0, 0.0)

    def begin(self, start_s: float) -> None:
        super().begin(start_s)
        self._late_s.clear()
        self._before = self.state.busy_s, self.state.preempted

    def take(self, exchange: Exchange) -> None:
        try:
            body = body_of(exchange.body)
        except msgspec.MsgspecError as error:
            exchange.answer(400, {"error": {"message": str(error)}})
            return
        sequence, number = sequence_of(body)
        sequence.owner = _Call(exchange, number, body.stream)
        self._calls[exchange] = sequence
        self.state.slow = self.slow
        if body.stream and not self.hung:
            exchange.start_stream()
        if self.state.submit(sequence, now_s()):
            self._set()

    def gone(self, exchange: Exchange) -> None:
        self.tally.aborted += 1
        sequence = self._calls.pop(exchange, None)
        if sequence is not None:
            self.state.abort(sequence)

    def freeze(self) -> None:
        self.state.stop()
        if self._alarm is not None:
            self._alarm.cancel()

    def restart(self) -> None:
        self._calls.clear()
        self.state.drop(forget=True)
        if self._alarm is not None:
            self._alarm.cancel()

    def load(self) -> Load:
        state = self.state
        return Load(
            len(state.running),
            len(state.waiting),
            state.cache.used * BLOCK_TOKENS,
            sum(ticket.prompt_tokens for ticket in state.waiting),
            sum(ticket.uncached_tokens for ticket in state.waiting),
            state.spec.kv_tokens,
            state.spec.sequences_max,
            self._tokens_hz(),
        )

    def _tokens_hz(self) -> float:
        """Generated a second, since at least half a second."""
        at_s, events = now_s(), self._events
        since_s, before, tokens_hz = self._generated
        if at_s - since_s >= RATE_S:
            tokens_hz = (events - before) * EVENT_TOKENS / (at_s - since_s)
            self._generated = at_s, events, tokens_hz
        return tokens_hz

    def report(self) -> Tally:
        busy_s, preempted = self._before
        self.tally.busy_s = self.state.busy_s - busy_s
        self.tally.preempted = self.state.preempted - preempted
        self.tally.steps = len(self._late_s)
        self.tally.late_ms_p99 = percentile(sorted(self._late_s), 0.99) * 1e3
        return self.tally

    def _set(self) -> None:
        self._alarm = self.timer.at(self.state.ends_s, self._step)

    def _step(self) -> None:
        self._late_s.append(now_s() - self.state.ends_s)
        self.state.slow = self.slow
        _, ended = self.state.finish()
        # The next step ends on schedule, however late this one was noticed.
        if self.state.ends_s < inf:
            self._set()
        emitting = [*self.state.decoding, *ended]
        self._events += len(emitting)
        for sequence in emitting:
            self._send(sequence)
        for sequence in ended:
            self._end(sequence)

    def _send(self, sequence: Sequence) -> None:
        call = sequence.owner
        assert isinstance(call, _Call)
        if not call.streamed:
            return
        for at in range(call.sent, self.state.generated(sequence)):
            mark = "" if at else f"{self.worker.name}: "
            call.exchange.event(event(mark + answer_event(call.number, at)))
        call.sent = self.state.generated(sequence)

    def _end(self, sequence: Sequence) -> None:
        call = sequence.owner
        assert isinstance(call, _Call)
        self._calls.pop(call.exchange, None)
        self.tally.answered += 1
        tokens = usage(sequence.prompt_tokens, sequence.answer_events, sequence.cached_tokens)
        if call.streamed:
            call.exchange.event(event("", "stop"))
            call.exchange.event(usage_event(tokens))
            call.exchange.end_stream()
        else:
            text = answer_text(call.number, sequence.answer_events)
            call.exchange.answer(200, whole(f"{self.worker.name}: {text}", tokens))
