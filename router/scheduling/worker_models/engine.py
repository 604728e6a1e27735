"""What a generation takes on an LLM engine, and what it costs other requests there.

An engine batches continuously. It has no slots, only a batch in which each request slows all others
a little. Three times matter:

1. The first token comes once the prompts ahead and this one are computed:
   ``x · [1, running answers, thousand uncached tokens]``.
2. Each further token takes one step of the whole batch: ``y · [1, running answers, ten thousand
   tokens attended to, thousand prompt tokens computed meanwhile]``.
3. All other requests wait while the prompt is computed, and step more slowly afterwards. Without
   this social term, requests herd to the engine that looks fastest to each of them alone.

``x`` and ``y`` belong to a deployment, whose engines are built alike
(:mod:`router.scheduling.worker_models.engine_speed`). Each engine has two factors relative to its
siblings. All begin with a benchmark's figures, or with a guess, and are learned from answers as
they come.
"""

from math import exp, inf, log

from router.scheduling.estimates.size import WORK_MAX, WORK_MIN
from router.scheduling.ticket import Ticket, Used
from router.scheduling.worker_models.batch import Batch, Generation
from router.scheduling.worker_models.costs import Costs
from router.scheduling.worker_models.engine_speed import SMOOTHING, EngineSpeed
from router.scheduling.worker_models.reading import Reading

THOUSAND, TEN_THOUSAND = 1e3, 1e4

FACTOR_MIN, FACTOR_MAX = 0.5, 30.0
FACTOR_SMOOTHING = 0.06
FACTOR_CLAMP = 4.0
FACTOR_REVERSION = 0.01
"""The share by which each answer draws an engine's factors back to those of its siblings."""

FADING_S = 10.0
"""How fast a slow engine's factors fade while nothing is heard of it, so that it is tried again."""

LATE_FIRST = 1.5
LATE_STEP = 2.0
"""A silence this many times longer than expected counts as slowness."""

FIRST_MIN_S = 0.05
DECODED_SHARE = 0.8
"""How much of an answer's time the answers running now go on decoding beside it, on average."""

STRETCH_TOKENS = 5
"""Steps are learned from a stream after this many events, so that an engine that has turned slow
is known long before an answer ends.
"""

WHOLE_WEIGHT = 0.3
"""A whole answer teaches less: it says how long it took in total, not in which part."""


class Engine:
    """The model of one engine for one deployment.

    ``costs`` is for a request that comes now, and ``waiting_s`` is how long it would wait for other
    prompts, or for room in the KV cache. Both are as of the last :meth:`look`.
    """

    __slots__ = (
        "_cached_seen",
        "_first_factor",
        "_heard_s",
        "_prompts_seen",
        "_step_factor",
        "batch",
        "costs",
        "reading",
        "speed",
        "waiting_s",
    )

    def __init__(self, speed: EngineSpeed, batch: Batch) -> None:
        self.speed = speed
        self.batch = batch
        self._first_factor = speed.first_factor
        self._step_factor = speed.step_factor
        speed.engines += 1
        speed.first_logs += log(self._first_factor)
        speed.step_logs += log(self._step_factor)
        self._heard_s = 0.0
        self._prompts_seen = self._cached_seen = 0.0
        self.reading = Reading()
        self.look(0.0)

    def retire(self) -> None:
        """The engine is gone; its siblings are compared without it."""
        self.speed.engines -= 1
        self.speed.first_logs -= log(self._first_factor)
        self.speed.step_logs -= log(self._step_factor)

    @property
    def factors(self) -> tuple[float, float]:
        """The factors for the first token and for a step, relative to its siblings."""
        return self._first_factor, self._step_factor

    @property
    def hit_rate(self) -> float | None:
        """The cached share of its latest prompts' tokens, by its own count; None before any."""
        return self._cached_seen / self._prompts_seen if self._prompts_seen else None

    def remember(self, first_factor: float, step_factor: float, now_s: float) -> None:
        """Take over factors of an earlier run. They fade as if something had been heard now."""
        self._set_first(max(FACTOR_MIN, min(first_factor, FACTOR_MAX)))
        self._set_step(max(FACTOR_MIN, min(step_factor, FACTOR_MAX)))
        self._heard_s = now_s

    def look(self, now_s: float) -> None:
        """Compute the costs for this moment."""
        batch = self.batch
        batch.look(now_s)
        x0, x1, x2 = self.speed.first.weights
        y0, y1, y2, _ = self.speed.step.weights
        prefill_s = x2 / THOUSAND
        pending_s = prefill_s * batch.pending_tokens
        fixed_s = x0 + x1 * batch.decoding
        step_s = y0 + y1 * (batch.decoding + 1) + y2 * batch.context_tokens / TEN_THOUSAND
        fade = exp((self._heard_s - now_s) / FADING_S) if now_s > self._heard_s else 1.0
        first = 1 + (self._first_factor - 1) * fade
        step = 1 + (self._step_factor - 1) * fade
        context_tokens, held_max = batch.context_tokens, batch.room.tokens
        room_tokens, freed_s, room_s = held_max - context_tokens, 0.0, 0.0
        if held_max < inf:
            ends_s = step * step_s * self.speed.answer_tokens
            freed_s = ends_s / max(min(context_tokens, held_max), 1.0)
            room_s = max(-room_tokens, 0.0) * freed_s
        waited_s, tolerated_s = (
            batch.oldest_s(now_s),
            LATE_FIRST * max(fixed_s + pending_s + room_s, FIRST_MIN_S / 2),
        )
        first = max(first, waited_s / tolerated_s)
        mean_s = max(self.speed.asked_tokens - room_tokens, 0.0) * freed_s
        self.waiting_s = max(first * pending_s, waited_s - tolerated_s, mean_s)
        silent_s = batch.silent_s(now_s)
        if silent_s:
            step = max(step, silent_s / (LATE_STEP * (step_s + pending_s)))
        there = batch.decoding + len(batch.prefilling) + batch.others.prefilling
        beside = self.speed.others_count * there
        decoded = beside * DECODED_SHARE
        prefill_s *= first
        step_s *= step
        context_s = step * y2 / TEN_THOUSAND
        self.costs = Costs(
            first * (fixed_s + pending_s),
            prefill_s,
            step_s,
            context_s,
            prefill_s * (1 + beside),
            step_s + decoded * step * y1,
            context_s * (1 + decoded),
            room_tokens,
            freed_s,
        )

    def answers_max(self) -> float:
        """How many answers it can give at once as fast as people read them."""
        return self.reading.answers_max(self._step_factor * self.speed.step.weights[0])

    def work(self, ticket: Ticket) -> float:
        """How much of the engine a request takes up, where a mean request is 1: the time for the
        uncached part of its prompt, and its part of the steps that it shares.
        """
        speed = self.speed
        computed_s = self.costs.prefill_s * speed.prompt_tokens / speed.asked_tokens
        decoded_s = self.costs.step_s / (self.batch.decoding + 1)
        mean_s = computed_s * speed.asked_tokens + decoded_s * speed.answer_tokens
        own_s = computed_s * ticket.prompt_tokens + decoded_s * ticket.answer_tokens
        return min(max(own_s / mean_s, WORK_MIN), WORK_MAX)

    # Events

    def begin(self, ticket: Ticket, cached_tokens: float, now_s: float) -> Generation:
        """A request is sent to the engine."""
        uncached = max(ticket.prompt_tokens - cached_tokens, 1.0)
        answer = ticket.answer_tokens
        made = Generation(ticket.prompt_tokens, uncached, streams=ticket.streams, now_s=now_s)
        made.waits_for_room = self.costs.room_s(ticket.prompt_tokens) > 0
        made.expected_first_s = self.costs.first_token_s(
            ticket.prompt_tokens, ticket.prompt_tokens - uncached
        )
        made.expected_s = self.costs.end_s(ticket.prompt_tokens, uncached, answer)
        if not ticket.streams:
            made.first_due_s = now_s + made.expected_first_s
        self.batch.begin(made, now_s)
        return made

    def first(self, generation: Generation, now_s: float) -> None:
        """The first token came: learn how long it took."""
        if generation.first_s:
            return
        self.batch.first(generation, now_s)
        speed = self.speed
        x = (1.0, generation.ahead_decoding, generation.ahead_tokens / THOUSAND)
        took_s = now_s - generation.begun_s
        self._heard_s = now_s
        if generation.waits_for_room:
            return  # That says how full the engine was, not how fast it is.
        self._set_first(followed(self._first_factor, took_s / speed.first.seconds(x)))
        speed.first.learn(x, took_s * speed.first_factor / self._first_factor)

    def ended(self, generation: Generation, used: Used | None, now_s: float) -> None:
        """The answer is complete and has left the batch: learn from its steps, or from its total
        time if they were not seen.
        """
        answer = used.answer_tokens if used is not None else generation.heard_tokens
        if used is not None:
            self.speed.observe(used)
            self._prompts_seen += used.prompt_tokens - SMOOTHING * self._prompts_seen
            self._cached_seen += used.cached_tokens - SMOOTHING * self._cached_seen
        if generation.is_first_seen:
            if generation.heard_tokens:
                ratio = answer / generation.heard_tokens
                self.speed.event_tokens += SMOOTHING * (ratio - self.speed.event_tokens)
            self._learn_steps(generation, now_s)
        elif not generation.streams:
            self._learn_whole(generation, max(answer, 1), now_s)
        self._heard_s = now_s
        self._set_first(self._first_factor + FACTOR_REVERSION * (1 - self._first_factor))
        self._set_step(self._step_factor + FACTOR_REVERSION * (1 - self._step_factor))

    def heard(self, generation: Generation, now_s: float) -> None:
        """More of its answer came."""
        if generation.heard_tokens - generation.since_tokens >= STRETCH_TOKENS:
            self._learn_steps(generation, now_s)
            self.batch.mark(generation, now_s)

    def _learn_steps(self, generation: Generation, now_s: float) -> None:
        took_s = now_s - generation.since_s
        steps = (
            generation.heard_tokens - max(generation.since_tokens, 1)
        ) * self.speed.event_tokens
        if took_s <= 0 or steps <= 0:
            return
        batch, fit = self.batch, self.speed.step
        batch.advance(now_s)
        x = (
            1.0,
            (batch.decoding_s - generation.decoding_then) / took_s,
            (batch.context_s - generation.context_then) / took_s / TEN_THOUSAND,
            (batch.prefilled_tokens - generation.prefilled_then) / THOUSAND / steps,
        )
        each_s = took_s / steps
        self.reading.observe(each_s, x[1])
        self._set_step(followed(self._step_factor, each_s / fit.seconds(x)))
        fit.learn(x, each_s * self.speed.step_factor / self._step_factor)

    def _learn_whole(self, generation: Generation, answer: int, now_s: float) -> None:
        speed, batch = self.speed, self.batch
        x = (1.0, generation.ahead_decoding, generation.ahead_tokens / THOUSAND)
        y = (
            1.0,
            batch.decoding + 1.0,
            (batch.context_tokens + generation.prompt_tokens) / TEN_THOUSAND,
            0.0,
        )
        first_s = self._first_factor * speed.first.seconds(x)
        each_s = self._step_factor * speed.step.seconds(y)
        ratio = (now_s - generation.begun_s) / (first_s + answer * each_s)
        speed.first.learn(x, ratio * speed.first_factor * speed.first.seconds(x), WHOLE_WEIGHT)
        speed.step.learn(y, ratio * speed.step_factor * speed.step.seconds(y), WHOLE_WEIGHT)
        self._set_first(followed(self._first_factor, ratio * self._first_factor))
        self._set_step(followed(self._step_factor, ratio * self._step_factor))

    def _set_first(self, factor: float) -> None:
        self.speed.first_logs += log(factor) - log(self._first_factor)
        self._first_factor = factor

    def _set_step(self, factor: float) -> None:
        self.speed.step_logs += log(factor) - log(self._step_factor)
        self._step_factor = factor


def followed(factor: float, ratio: float) -> float:
    """A factor after one more answer, which took ``ratio`` times what the siblings' curve says."""
    news = max(1 / FACTOR_CLAMP, min(ratio / factor, FACTOR_CLAMP))
    return max(FACTOR_MIN, min(factor * (1 + FACTOR_SMOOTHING * (news - 1)), FACTOR_MAX))


_UNKNOWN = Engine(EngineSpeed(), Batch())


def guessed_s(ticket: Ticket) -> float:
    """Seconds to the end of an answer on an unknown engine; 0 for a request that generates
    nothing.
    """
    prompt = ticket.prompt_tokens
    return _UNKNOWN.costs.end_s(prompt, prompt, ticket.answer_tokens) if prompt else 0.0
