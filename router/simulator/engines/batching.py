"""An LLM engine under virtual time: continuous batching, chunked prefill, blocks of KV cache.

One step gives every decoding sequence one answer event and spends the rest of its token budget on
prompts, in order of arrival. Its cost in Python does not grow with the batch: sequences are kept by
the step at which they end, and the blocks that answers need are counted by how far each answer is
within a block.
"""

from collections import deque
from enum import StrEnum
from math import ceil, gcd, inf
from typing import Any

from msgspec import Struct

from router.simulator.engines.kv_cache import BLOCK_TOKENS, Chain, KvCache, Segment
from router.simulator.trouble import Event

WAVES = 4
KNEE = 0.25


class StepForm(StrEnum):
    """How the time of a step grows with its load: ``batch_s`` x sequences + ``context_s`` x
    tokens attended to.
    """

    LINEAR = "linear"
    SATURATING = "saturating"
    """Flat up to a quarter of ``base_s``, while memory has time to spare; then twice as steep."""
    STEPPED = "stepped"
    """Linear, in whole waves of a quarter of ``base_s``."""


class EngineSpec(Struct, frozen=True):
    """One engine, in times of the emulation. One answer event has ``event_tokens`` tokens.

    A prompt is computed at ``prefill_hz`` tokens a second, at most ``step_tokens`` of them in a
    step. Beside answers it is computed at ``beside_hz`` (0: the same), which is faster if both use
    what a step takes anyway. At most ``sequences_max`` run at once, as far as ``kv_tokens`` allow.
    A step without decoding takes one token's share of ``base_s`` besides its prompts.
    """

    name: str
    kind: str
    prefill_hz: float
    base_s: float
    batch_s: float
    context_s: float
    kv_tokens: int
    step_tokens: int
    sequences_max: int
    event_tokens: int = 1
    beside_hz: float = 0.0
    form: StepForm = StepForm.LINEAR
    events: tuple[Event, ...] = ()

    def step_s(self, batch: float, context: float) -> float:
        """Seconds of a step that decodes ``batch`` sequences of ``context`` tokens in total."""
        load_s = self.batch_s * batch + self.context_s * context
        if self.form is StepForm.SATURATING:
            load_s = 2 * max(load_s - KNEE * self.base_s, 0.0)
        elif self.form is StepForm.STEPPED:
            wave_s = self.base_s / WAVES
            load_s = ceil(load_s / wave_s) * wave_s
        return self.base_s + load_s

    def mixed_s(self, batch: int, context: int, prompt_tokens: int) -> float:
        """Seconds of a step that computes ``prompt_tokens`` beside what it decodes, if anything."""
        if not batch:
            step_s, prompts_hz = self.base_s / self.event_tokens, self.prefill_hz
        else:
            step_s, prompts_hz = self.step_s(batch, context), self.beside_hz or self.prefill_hz
        return step_s + prompt_tokens / prompts_hz if prompt_tokens else step_s


def one_segment(name: int) -> Chain:
    """An answer of any length as one segment, so that it is found again whole."""
    return ((name, 1 << 40),)


class Sequence:
    """One request in an engine.

    ``chain`` is its prompt. ``answer`` is the segments of its answer, with blocks counted from the
    prompt's end. ``answer_events`` is the real length of the answer. ``generated`` is only updated
    while it does not decode; :meth:`EngineState.generated` is always right. ``owner`` is the call
    that it belongs to, and ``placed`` is for the placer's own use.
    """

    __slots__ = (
        "answer",
        "answer_events",
        "cached_tokens",
        "chain",
        "computed",
        "ends",
        "engine",
        "generated",
        "grown_from",
        "held",
        "joined",
        "left",
        "over",
        "owner",
        "placed",
        "private",
        "prompt_blocks",
        "prompt_tokens",
        "uncached_tokens",
    )

    def __init__(
        self,
        chain: Chain,
        prompt_tokens: int,
        answer_events: int,
        answer: Chain,
        owner: object = None,
    ) -> None:
        self.chain = chain
        self.answer = answer
        self.prompt_tokens = prompt_tokens
        self.prompt_blocks = prompt_tokens // BLOCK_TOKENS
        self.answer_events = answer_events
        self.owner = owner
        self.placed: Any = None
        self.engine: EngineState | None = None
        self.over = False
        self.left = 0
        """Tokens to compute before the next answer event can come."""
        self.generated = 0
        self.cached_tokens = -1
        """Tokens found cached at its first admission; -1 before."""
        self.uncached_tokens = prompt_tokens
        """Tokens to compute, as known when it came."""
        self.computed = 0
        self.held: list[Segment] = []
        self.private = 0
        self.joined = 0
        self.grown_from = 0
        self.ends = 0


class EngineState:
    """What an engine is doing. The caller calls :meth:`finish` at ``ends_s``, if that is finite.

    A request is admitted if there are blocks for its whole prompt. If running answers need more
    blocks than there are, the latest one gives up its own and waits again, before all others.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.cache = KvCache(spec.kv_tokens // BLOCK_TOKENS)
        self.waiting: deque[Sequence] = deque()
        self.running: dict[Sequence, None] = {}
        self.prefilling: list[Sequence] = []
        self.decoding: dict[Sequence, None] = {}
        self.context_tokens = 0
        """Tokens that running sequences attend to."""
        self.ends_s = inf
        self.slow = 1.0
        self.up = True
        self.hung = False
        self.busy_s = 0.0
        self.preempted = self.aborted = self.steps = 0
        self._chunks: list[tuple[Sequence, int]] = []
        self._tick = 0
        self._ends: dict[int, list[Sequence]] = {}
        tokens = spec.event_tokens
        self._period = BLOCK_TOKENS // gcd(BLOCK_TOKENS, tokens)
        self._growth = [
            [
                ((at + tick * tokens) % BLOCK_TOKENS + tokens) // BLOCK_TOKENS
                for tick in range(self._period)
            ]
            for at in range(BLOCK_TOKENS)
        ]
        self._demand = [0] * self._period
        """Blocks that the decoding sequences need at a tick, by the tick's place in the period."""

    def matched_tokens(self, sequence: Sequence) -> int:
        """How many tokens of a prompt are cached. The last token is always computed."""
        limit = (sequence.prompt_tokens - 1) // BLOCK_TOKENS
        return self.cache.matched(sequence.chain, limit) * BLOCK_TOKENS

    def generated(self, sequence: Sequence) -> int:
        """Answer events so far."""
        if sequence in self.decoding:
            return self._tick - sequence.joined
        return sequence.generated

    # Requests

    def submit(self, sequence: Sequence, now_s: float) -> bool:
        """Take a request. True if a step begins with it, so that ``ends_s`` is new."""
        longest = sequence.prompt_tokens + sequence.answer_events * self.spec.event_tokens
        if longest > self.cache.capacity * BLOCK_TOKENS:
            raise ValueError(f"{longest} tokens never fit in {self.spec.kv_tokens}")
        sequence.engine = self
        sequence.uncached_tokens = sequence.prompt_tokens - self.matched_tokens(sequence)
        self.waiting.append(sequence)
        if self.hung or self.ends_s < inf:
            return False
        self._begin(now_s)
        return True

    def abort(self, sequence: Sequence) -> None:
        """Its caller has left. The running step does not get shorter."""
        if sequence.over:
            return
        sequence.over = True
        self.aborted += 1
        if sequence in self.running:
            self._leave(sequence, self.generated(sequence))
        else:
            self.waiting.remove(sequence)

    def finish(self) -> tuple[list[Sequence], list[Sequence]]:
        """End a step and begin the next. Returns sequences whose prompt is done, and those ended.

        Every decoding sequence got one answer event, and so did both lists.
        """
        joining: list[Sequence] = []
        for sequence, tokens in self._chunks:
            if sequence.over:
                continue
            sequence.left -= tokens
            self._share(sequence)
            if not sequence.left:
                joining.append(sequence)
        ended = self._decode() if self.decoding else []
        joined = [
            sequence for sequence in joining if not sequence.left and self._join(sequence, ended)
        ]
        self.steps += 1
        self._begin(self.ends_s)
        return joined, ended

    def stop(self) -> None:
        """The engine hangs: the running step never ends."""
        self.hung = True
        self.ends_s = inf

    def drop(self, *, forget: bool) -> list[Sequence]:
        """Lose all its requests, and with ``forget`` its cache too."""
        lost = [*self.running, *self.waiting]
        for sequence in lost:
            self.abort(sequence)
        self.hung = False
        self.ends_s = inf
        self._chunks = []
        if forget:
            self.cache.clear()
        return lost

    # Steps

    def _begin(self, now_s: float) -> None:
        spec, batch = self.spec, len(self.decoding)
        budget = spec.step_tokens - batch
        chunks: list[tuple[Sequence, int]] = []
        for sequence in self.prefilling:
            if budget <= 0:
                break
            tokens = min(sequence.left, budget)
            budget -= tokens
            chunks.append((sequence, tokens))
        while self.waiting and budget > 0 and len(self.running) < spec.sequences_max:
            sequence = self.waiting[0]
            if not self._admit(sequence):
                break
            self.waiting.popleft()
            tokens = min(sequence.left, budget)
            budget -= tokens
            chunks.append((sequence, tokens))
        self._chunks = chunks
        if not batch and not chunks:
            self.ends_s = inf
            return
        computed = spec.step_tokens - batch - budget if chunks else 0
        step_s = spec.mixed_s(batch, self.context_tokens, computed) * self.slow
        self.busy_s += step_s
        self.ends_s = now_s + step_s

    def _admit(self, sequence: Sequence) -> bool:
        matched = self.matched_tokens(sequence)
        known = sequence.prompt_tokens + sequence.generated * self.spec.event_tokens
        found = matched // BLOCK_TOKENS
        needed = -(-known // BLOCK_TOKENS) - found
        held = self.cache.admit(sequence.chain, found, needed)
        if held is None:
            return False
        sequence.held, sequence.computed, sequence.private = held, found, needed
        sequence.left = known - matched
        if sequence.cached_tokens < 0:
            sequence.cached_tokens = matched
        self.context_tokens += known
        self.running[sequence] = None
        self.prefilling.append(sequence)
        return True

    def _share(self, sequence: Sequence) -> None:
        """Let other sequences use what has been computed of a prompt."""
        known = sequence.prompt_tokens + sequence.generated * self.spec.event_tokens
        upto = min((known - sequence.left) // BLOCK_TOKENS, sequence.prompt_blocks)
        if upto > sequence.computed:
            sequence.private -= self.cache.share(
                sequence.chain, sequence.computed, upto, sequence.held
            )
            sequence.computed = upto

    def _decode(self) -> list[Sequence]:
        self._tick += 1
        self.context_tokens += self.spec.event_tokens * len(self.decoding)
        ended = self._ends.pop(self._tick, [])
        for sequence in ended:
            self._end(sequence, sequence.answer_events)
        while (needed := self._demand[self._tick % self._period]) and not self.cache.take(needed):
            self._preempt()
        return ended

    def _join(self, sequence: Sequence, ended: list[Sequence]) -> bool:
        """Its prompt is done and the next answer event comes. False if it was preempted instead."""
        tokens = self.spec.event_tokens
        made = sequence.generated
        if sequence.answer_events - made > 1:
            known = sequence.prompt_tokens + made * tokens
            grows = (known + tokens) // BLOCK_TOKENS - known // BLOCK_TOKENS
            while not self.cache.take(grows):
                self._preempt()
                if sequence not in self.running:
                    return False
            sequence.private += grows
        self.context_tokens += tokens
        made += 1
        sequence.generated = made
        if made == sequence.answer_events:
            self._end(sequence, made)
            ended.append(sequence)
            return True
        self.prefilling.remove(sequence)
        self.decoding[sequence] = None
        sequence.joined = self._tick - made
        sequence.grown_from = (sequence.prompt_tokens + made * tokens) // BLOCK_TOKENS
        sequence.ends = self._tick + sequence.answer_events - made
        self._ends.setdefault(sequence.ends, []).append(sequence)
        self._ask(sequence, 1)
        return True

    def _ask(self, sequence: Sequence, sign: int) -> None:
        """Add a decoding sequence's blocks to the demand, or take them out."""
        begun = sequence.prompt_tokens - (1 + sequence.joined) * self.spec.event_tokens
        for place, blocks in enumerate(self._growth[begun % BLOCK_TOKENS]):
            self._demand[place] += sign * blocks

    def _preempt(self) -> None:
        """The latest sequence gives up its blocks and is computed again, with its answer so far."""
        sequence = next(reversed(self.running))
        made = self.generated(sequence)
        if sequence in self.decoding:
            made -= 1  # This step's event needs a block, and there is none.
            self.context_tokens -= self.spec.event_tokens
        self._leave(sequence, made)
        sequence.left = sequence.uncached_tokens = sequence.prompt_tokens
        self.preempted += 1
        self.waiting.appendleft(sequence)

    def _end(self, sequence: Sequence, made: int) -> None:
        sequence.over = True
        self._leave(sequence, made)
        known = sequence.prompt_tokens + made * self.spec.event_tokens
        blocks = known // BLOCK_TOKENS - sequence.prompt_blocks
        start = 0
        for name, end in sequence.answer:
            self.cache.keep(name, min(end, blocks) - start)
            start = end

    def _leave(self, sequence: Sequence, made: int) -> None:
        """Take a sequence out of the batch after ``made`` answer events, and free its blocks."""
        tokens = self.spec.event_tokens
        known = sequence.prompt_tokens + made * tokens
        del self.running[sequence]
        if sequence in self.decoding:
            del self.decoding[sequence]
            self._ask(sequence, -1)
            # The last event needs no block, since nothing follows it.
            stored = known - tokens if made == sequence.answer_events else known
            sequence.private += stored // BLOCK_TOKENS - sequence.grown_from
            if not sequence.over or made < sequence.answer_events:
                self._ends[sequence.ends].remove(sequence)
        else:
            self.prefilling.remove(sequence)
        sequence.generated = made
        self.context_tokens -= known
        self.cache.release(sequence.held, sequence.private)
        sequence.held, sequence.private, sequence.computed = [], 0, 0
