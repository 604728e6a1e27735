"""Sessions on one side, engines on the other, a placer between them, and no real time.

A placer says which engine each request goes to. It may use the public methods of
:class:`EngineSimulation`. Every request ends in exactly one result.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from msgspec import Struct

from router.scheduling.caches.affinity import BLOCK_BYTES
from router.simulator.engines import batching
from router.simulator.engines.batching import EngineState
from router.simulator.engines.scenarios import EngineScenario
from router.simulator.engines.sessions import Session, Turn, plan
from router.simulator.trouble import Event, Trouble


class EngineResult(Struct, frozen=True, gc=False):
    """How one request ended. ``error`` is empty if it was answered.

    ``queue_s`` is how long it waited until it was first sent to an engine or given up.
    """

    at_s: float
    ttft_s: float
    latency_s: float
    prompt_tokens: int
    cached_tokens: int
    answer_events: int
    turn: int
    engine: int = -1
    is_long: bool = False
    error: str = ""
    tenant: int = 0
    queue_s: float = 0.0

    @property
    def token_s(self) -> float:
        """The mean time of an answer event after the first; 0 for a single event."""
        if self.answer_events < 2:
            return 0.0
        return (self.latency_s - self.ttft_s) / (self.answer_events - 1)


class Call:
    """One request on its way.

    It was first sent at ``sent_s``. Its answer began at ``first_s``, from ``answering``. ``placed``
    is for the placer's own use.
    """

    __slots__ = (
        "answering",
        "at_s",
        "first_s",
        "number",
        "over",
        "placed",
        "prefix",
        "sent",
        "sent_s",
        "session",
        "turn",
        "turn_number",
    )

    def __init__(self, number: int, session: Session, turn_number: int, at_s: float) -> None:
        self.number = number
        self.session = session
        self.turn_number = turn_number
        self.turn: Turn = session.turns[turn_number]
        self.prefix = session.prefix[: self.turn.prompt_bytes // BLOCK_BYTES]
        self.at_s = at_s
        self.first_s = self.sent_s = inf
        self.answering: batching.Sequence | None = None
        self.sent: list[batching.Sequence] = []
        self.over = False
        self.placed: Any = None


class Placer(Protocol):
    """Decides where requests go. A call owns its attempts (sequences); probes have no owner."""

    def begin(self, simulation: "EngineSimulation") -> None:
        """The run starts."""

    def arrived(self, call: Call) -> None:
        """A request wants an engine."""

    def stepped(
        self,
        engine: int,
        joined: Sequence[batching.Sequence],
        ended: Sequence[batching.Sequence],
    ) -> None:
        """A step has ended: ``joined`` have their prompts done, ``ended`` their answers."""

    def failed(self, sequence: batching.Sequence) -> None:
        """An engine lost an attempt."""

    def left(self, call: Call) -> None:
        """The caller has given up; its attempts are already stopped."""


class EngineSimulation:
    """One run of a scenario. Without ``sessions``, ``plan`` makes them."""

    def __init__(
        self,
        scenario: EngineScenario,
        placer: Placer,
        seed: int,
        sessions: Sequence[Session] | None = None,
    ) -> None:
        self.scenario = scenario
        self.engines = [EngineState(spec) for spec in scenario.engines]
        self.numbers = {id(engine): n for n, engine in enumerate(self.engines)}
        self.now_s = 0.0
        self.results: list[EngineResult] = []
        self.open = 0
        """Sessions that are not over."""
        self._placer = placer
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = itertools.count()
        self._calls = itertools.count()
        if sessions is None:
            event_tokens = scenario.engines[0].event_tokens
            sessions = plan(scenario.load, scenario.duration_s, event_tokens, seed)
        for session in sessions:
            self.open += 1
            self.at(session.at_s, self._turn, (session, session.first, session.at_s))
        for number, spec in enumerate(scenario.engines):
            for event in spec.events:
                self.at(event.from_s, self._trouble_begins, (number, event))
                self.at(event.to_s, self._trouble_ends, (number, event))

    def run(self) -> list[EngineResult]:
        """Run until every session is over."""
        self._placer.begin(self)
        events, pop = self._events, heapq.heappop
        while self.open and events:
            self.now_s, _, handle, what = pop(events)
            handle(what)
        return self.results

    # What a placer may do

    def at(self, at_s: float, handle: Callable[[Any], None], what: object) -> None:
        """Call ``handle`` with ``what`` at a given time."""
        heapq.heappush(self._events, (at_s, next(self._count), handle, what))

    def sequence(self, call: Call) -> batching.Sequence:
        """A new attempt at a call, not sent yet."""
        turn = call.turn
        return batching.Sequence(
            turn.chain,
            turn.prompt_tokens,
            turn.answer_events,
            batching.one_segment(turn.answer_name),
            call,
        )

    def send(self, sequence: batching.Sequence, engine: int) -> None:
        """Give an attempt to an engine."""
        state = self.engines[engine]
        sequence.engine = state
        if isinstance(sequence.owner, Call):
            sequence.owner.sent.append(sequence)
            sequence.owner.sent_s = min(sequence.owner.sent_s, self.now_s)
        if not state.up:
            self.at(self.now_s, self._refused, sequence)
        elif state.submit(sequence, self.now_s):
            self.at(state.ends_s, self._step, state)

    def abort(self, sequence: batching.Sequence) -> None:
        """Stop an attempt."""
        if not sequence.over and sequence.engine is not None:
            if sequence.engine.up:
                sequence.engine.abort(sequence)
            sequence.over = True

    def give_up(self, call: Call, error: str) -> None:
        """End the call with an error."""
        self._end(call, None, error)

    # Requests

    def _turn(self, what: tuple[Session, int, float]) -> None:
        session, number, at_s = what
        call = Call(next(self._calls), session, number, at_s)
        self.at(at_s + self.scenario.client_timeout_s, self._timed_out, call)
        self._placer.arrived(call)

    def _step(self, engine: EngineState) -> None:
        if engine.ends_s != self.now_s:
            return  # It hung or crashed meanwhile.
        joined, ended = engine.finish()
        if engine.ends_s < inf:
            heapq.heappush(self._events, (engine.ends_s, next(self._count), self._step, engine))
        for sequence in joined:
            call = sequence.owner
            if isinstance(call, Call) and call.answering is None:
                call.answering = sequence
                call.first_s = self.now_s
        self._placer.stepped(self.numbers[id(engine)], joined, ended)
        for sequence in ended:
            call = sequence.owner
            if isinstance(call, Call) and call.answering is sequence:
                self._end(call, sequence)

    def _end(self, call: Call, by: batching.Sequence | None, error: str = "") -> None:
        if call.over:
            return
        call.over = True
        turn, now_s = call.turn, self.now_s
        result = EngineResult(
            call.at_s,
            call.first_s - call.at_s,
            now_s - call.at_s,
            turn.prompt_tokens,
            by.cached_tokens if by is not None else 0,
            turn.answer_events,
            call.turn_number,
            self.numbers[id(by.engine)] if by is not None else -1,
            turn.is_long,
            error,
            call.session.tenant,
            min(call.sent_s, now_s) - call.at_s,
        )
        self.results.append(result)
        session, following = call.session, call.turn_number + 1
        next_s = now_s + turn.think_s
        if (
            following < len(session.turns)
            and error != TIMEOUT
            and next_s < self.scenario.duration_s
        ):
            self.at(next_s, self._turn, (session, following, next_s))
        else:
            self.open -= 1

    def _timed_out(self, call: Call) -> None:
        if call.over:
            return
        for sequence in call.sent:
            self.abort(sequence)
        self._placer.left(call)
        self._end(call, None, TIMEOUT)

    def _refused(self, sequence: batching.Sequence) -> None:
        if not sequence.over:
            sequence.over = True
            self._lost(sequence)

    def _lost(self, sequence: batching.Sequence) -> None:
        call = sequence.owner
        if isinstance(call, Call) and call.answering is sequence:
            for other in call.sent:
                self.abort(other)
            self._placer.failed(sequence)
            self._end(call, None, CUT_SHORT)
        else:
            self._placer.failed(sequence)

    # Trouble

    def _trouble_begins(self, what: tuple[int, Event]) -> None:
        number, event = what
        engine = self.engines[number]
        if event.trouble is Trouble.SLOW:
            engine.slow = event.factor
        elif event.trouble is Trouble.HANG:
            engine.stop()
        elif event.trouble is Trouble.CRASH:
            engine.up = False
            for sequence in engine.drop(forget=True):
                self._lost(sequence)
        else:
            raise ValueError(f"an engine does not {event.trouble}")

    def _trouble_ends(self, what: tuple[int, Event]) -> None:
        number, event = what
        engine = self.engines[number]
        if event.trouble is Trouble.SLOW:
            engine.slow = 1.0
        elif event.trouble is Trouble.CRASH:
            engine.up = True
        else:
            for sequence in engine.drop(forget=False):
                self._lost(sequence)


TIMEOUT = "timeout"
CUT_SHORT = "cut_short"


def simulate_engines(
    scenario: EngineScenario,
    placer: Placer,
    seed: int,
    sessions: Sequence[Session] | None = None,
) -> list[EngineResult]:
    """Results in order of their end. The same seed gives the same results."""
    return EngineSimulation(scenario, placer, seed, sessions).run()
