"""Placers other than our scheduler: references and simple rules."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random

from router.simulator.engines import batching
from router.simulator.engines.batching import EngineState
from router.simulator.engines.sessions import Lengths
from router.simulator.engines.simulation import Call, EngineSimulation

ATTEMPTS_MAX = 3


class Chooser:
    """Sends each request at once to the engine that a rule names. If that fails, tries another."""

    def __init__(
        self, choose: Callable[[batching.Sequence, EngineSimulation, set[int]], int]
    ) -> None:
        self._choose = choose

    def begin(self, simulation: EngineSimulation) -> None:
        """Nothing to prepare."""
        self._simulation = simulation

    def arrived(self, call: Call) -> None:
        """Send the call."""
        call.placed = set()
        self._send(call)

    def stepped(
        self, engine: int, joined: Sequence[batching.Sequence], ended: Sequence[batching.Sequence]
    ) -> None:
        """Nothing to learn."""

    def failed(self, sequence: batching.Sequence) -> None:
        """Try another engine, unless the answer has begun."""
        call = sequence.owner
        if not isinstance(call, Call) or call.answering is not None or call.over:
            return
        call.placed.add(self._simulation.numbers[id(sequence.engine)])
        if len(call.placed) < ATTEMPTS_MAX:
            self._send(call)
        else:
            self._simulation.give_up(call, "worker_failed")

    def left(self, call: Call) -> None:
        """Nothing is kept of the call."""

    def _send(self, call: Call) -> None:
        sequence = self._simulation.sequence(call)
        engine = self._choose(sequence, self._simulation, call.placed)
        self._simulation.send(sequence, engine)


Remaining = Callable[[batching.Sequence, int], float]
"""How many events of an answer are left, after this many have come."""


def _truly(sequence: batching.Sequence, come: int) -> float:
    return sequence.answer_events - come


def oracle(social: float = 1.0, *, knows_lengths: bool = True) -> Chooser:
    """Knows the exact state of every engine and is greedy. It takes the least predicted end of the
    request plus ``social`` times what that adds to others there. It does not look ahead: a strong
    reference, not a bound. Without ``knows_lengths`` it only knows how answers' lengths are
    distributed, which is all that can be known from prompts.
    """
    remaining: Remaining | None = _truly if knows_lengths else None

    def choose(sequence: batching.Sequence, simulation: EngineSimulation, tried: set[int]) -> int:
        nonlocal remaining
        if remaining is None:
            remaining = expected_remaining(simulation.scenario.load.answer)
        best, best_s = 0, float("inf")
        for number, engine in enumerate(simulation.engines):
            if number not in tried and engine.up and not engine.hung:
                own_s, others_s = outlook(engine, sequence, simulation.now_s, remaining)
                score_s = own_s + social * others_s
                if score_s < best_s:
                    best, best_s = number, score_s
        return best

    return Chooser(choose)


def expected_remaining(answer: Lengths) -> Remaining:
    """The mean rest of the answers that are longer than what has come."""
    random = Random("answers")
    drawn = sorted(int(answer.draw(random)) for _ in range(10_000))
    left = [
        sum(longer) / len(longer) - come
        for come in range(drawn[-1])
        if (longer := drawn[bisect_right(drawn, come) :])
    ]
    return lambda sequence, come: left[min(come, len(left) - 1)]


def outlook(
    engine: EngineState,
    sequence: batching.Sequence,
    now_s: float,
    remaining: Remaining = _truly,
) -> tuple[float, float]:
    """Seconds until a sequence would end here, and the seconds it would add to all others together.

    A closed form: prompts ahead one after the other, then steps of the batch that is likely
    meanwhile.
    """
    spec = engine.spec
    events = remaining(sequence, 0)
    own_tokens = sequence.prompt_tokens - engine.matched_tokens(sequence)
    running, waiting = engine.running, engine.waiting
    ahead = sum([other.left for other in engine.prefilling])
    ahead += sum([other.uncached_tokens for other in waiting])
    rest = [remaining(other, engine.generated(other)) for other in running]
    asked = [remaining(other, 0) for other in waiting]
    context = engine.context_tokens + sequence.prompt_tokens
    context += sum([other.prompt_tokens for other in waiting])
    held = min(context, spec.kv_tokens)
    wait_s = engine.ends_s - now_s if running and engine.ends_s > now_s else 0.0
    wait_s += _turn_s(engine, sequence, context, rest, asked)
    batch = len(engine.decoding)
    step_s = spec.step_s(batch, engine.context_tokens) if batch else spec.base_s / spec.event_tokens
    prompts = ahead + own_tokens
    wait_s += prompts / spec.prefill_hz + -(-prompts // spec.step_tokens) * step_s
    beside = sum([min(left, events) for left in rest]) + sum([min(n, events) for n in asked])
    mean_batch = beside / events
    each_s = spec.step_s(1 + mean_batch, held)
    alone_s = spec.step_s(mean_batch, max(held - sequence.prompt_tokens, 0))
    others_s = own_tokens / spec.prefill_hz * (len(running) + len(waiting))
    others_s += (each_s - alone_s) * beside
    return (wait_s + events * each_s) * engine.slow, others_s * engine.slow


def _turn_s(
    engine: EngineState,
    sequence: batching.Sequence,
    context: int,
    rest: list[float],
    asked: list[float],
) -> float:
    """How long until enough others have ended for it to run at all."""
    spec = engine.spec
    crowd = len(rest) + len(asked)
    over = crowd + 1 - spec.sequences_max
    if context > spec.kv_tokens:
        excess = (context - spec.kv_tokens) * crowd / max(context - sequence.prompt_tokens, 1)
        over = max(over, int(excess) + 1)
    if over <= 0 or not crowd:
        return 0.0
    ends = sorted(rest) + sorted(asked)
    full_s = spec.step_s(spec.sequences_max, min(context, spec.kv_tokens))
    return ends[min(over, crowd) - 1] * full_s


def round_robin() -> Chooser:
    """Each engine in turn."""
    turns = [0]

    def choose(sequence: batching.Sequence, simulation: EngineSimulation, tried: set[int]) -> int:
        while True:
            turns[0] = (turns[0] + 1) % len(simulation.engines)
            if turns[0] not in tried:
                return turns[0]

    return Chooser(choose)


def least_outstanding(seed: int = 1) -> Chooser:
    """The engine with the fewest requests; on a tie, one at random."""
    random = Random(f"ties-{seed}").random

    def choose(sequence: batching.Sequence, simulation: EngineSimulation, tried: set[int]) -> int:
        counts = [
            (len(engine.running) + len(engine.waiting), random(), number)
            for number, engine in enumerate(simulation.engines)
            if number not in tried
        ]
        return min(counts)[2]

    return Chooser(choose)
