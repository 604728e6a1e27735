"""What a generation takes on an LLM engine, and what it costs those that run there already.

An engine batches continuously: there are no slots that are free or taken, only a batch in which
each request slows all others a little. Three times say what matters. The first token comes when the
prompts ahead and the own one are computed, ``x · [1, answers decoded, thousand uncached tokens]``.
Each further token takes one step of the whole batch, ``y · [1, answers decoded, ten thousand tokens
attended to, thousand tokens of prompts computed meanwhile]``. And all that run there wait while a
prompt is computed, and step more slowly afterwards: the social term, without which requests herd to
the engine that looks fastest to each of them alone.

``x`` and ``y`` belong to a deployment, whose engines are built alike; an engine has two factors
relative to its siblings. All begin as a benchmark says, or as a guess where there is none, and are
learned from answers as they come.
"""

from collections.abc import Sequence
from math import exp, log

from router.domain.catalog import USUAL_ENGINE, EngineCurve
from router.scheduling.batch import Batch, Generation
from router.scheduling.costs import Costs
from router.scheduling.positive_fit import PositiveFit
from router.scheduling.reading import Reading
from router.scheduling.size import WORK_MAX, WORK_MIN
from router.scheduling.ticket import Ticket, Used

FIRST_GUESS, STEP_GUESS = USUAL_ENGINE.first, USUAL_ENGINE.step
"""Before anything is known."""

THOUSAND, TEN_THOUSAND = 1e3, 1e4

FACTOR_MIN, FACTOR_MAX = 0.5, 30.0
FACTOR_SMOOTHING = 0.06
FACTOR_CLAMP = 4.0
FACTOR_REVERSION = 0.01
"""Share by which each answer draws an engine's factors back to its siblings'."""

FADING_S = 10.0
"""How fast the bad name of an engine that nothing was heard of fades: it is tried again."""

LATE_FIRST = 1.5
LATE_STEP = 2.0
LATE_WHOLE = 1.5
"""How many times what is expected a silence lasts before it counts as slowness."""

SMOOTHING = 0.02
FIRST_MIN_S = 0.05
DECODED_SHARE = 0.8
"""Of an answer's time, the share that those which run there now are still decoding, on average."""

STRETCH_TOKENS = 5
"""Of a stream, after so many events its steps are learned from: an engine that has turned slow is
known long before an answer ends.
"""

WHOLE_WEIGHT = 0.3
"""An answer that came whole says how long it took, not what of it: it teaches less."""


class EngineSpeed:
    """What the engines of one deployment have shown together."""

    __slots__ = (
        "answer_tokens",
        "asked_tokens",
        "engines",
        "event_tokens",
        "first",
        "first_logs",
        "others_count",
        "prompt_tokens",
        "step",
        "step_logs",
    )

    def __init__(
        self, first: Sequence[float] = FIRST_GUESS, step: Sequence[float] = STEP_GUESS
    ) -> None:
        self.first = PositiveFit(first)
        self.step = PositiveFit(step)
        self.engines = 0
        self.first_logs = self.step_logs = 0.0
        self.prompt_tokens = self.asked_tokens = 500.0
        """Of a mean prompt: those that have to be computed, and all."""
        self.answer_tokens = 100.0
        self.event_tokens = 1.0
        """Tokens of an event of a stream."""
        self.others_count = 1.0
        """What a second that others wait longer counts, beside one of the request's own."""

    def expect(self, first: Sequence[float], step: Sequence[float]) -> None:
        """Take a newer guess, as long as no answer has taught anything."""
        if not self.first.samples and not self.step.samples:
            self.first = PositiveFit(first)
            self.step = PositiveFit(step)

    def benchmarked(self, curve: EngineCurve) -> None:
        """They were benchmarked, maybe anew."""
        if not self.step.samples:
            self.event_tokens = curve.event_tokens
        self.first.benchmarked(curve.first)
        self.step.benchmarked(curve.step)

    @property
    def first_factor(self) -> float:
        """Geometric mean of the engines' factors of the first token."""
        return exp(self.first_logs / self.engines) if self.engines else 1.0

    @property
    def step_factor(self) -> float:
        """Geometric mean of the engines' factors of a step."""
        return exp(self.step_logs / self.engines) if self.engines else 1.0

    def saw(self, used: Used) -> None:
        """A mean request is one like these."""
        uncached = used.prompt_tokens - used.cached_tokens
        self.prompt_tokens += SMOOTHING * (uncached - self.prompt_tokens)
        self.asked_tokens += SMOOTHING * (used.prompt_tokens - self.asked_tokens)
        self.answer_tokens += SMOOTHING * (used.answer_tokens - self.answer_tokens)


class Engine:
    """One engine's model of one deployment.

    ``costs`` of a request that came now and ``waiting_s``, for which it would wait for other
    prompts, hold since the last :meth:`look`.
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
        """It is gone: its siblings are compared without it."""
        self.speed.engines -= 1
        self.speed.first_logs -= log(self._first_factor)
        self.speed.step_logs -= log(self._step_factor)

    @property
    def factors(self) -> tuple[float, float]:
        """Of the first token and of a step, relative to its siblings."""
        return self._first_factor, self._step_factor

    @property
    def hit_rate(self) -> float | None:
        """Share of its latest prompts' tokens that were cached, by its own count; None before."""
        return self._cached_seen / self._prompts_seen if self._prompts_seen else None

    def remember(self, first_factor: float, step_factor: float, now_s: float) -> None:
        """An earlier life has learned these; they fade as if something had been heard now."""
        self._set_first(max(FACTOR_MIN, min(first_factor, FACTOR_MAX)))
        self._set_step(max(FACTOR_MIN, min(step_factor, FACTOR_MAX)))
        self._heard_s = now_s

    def look(self, now_s: float) -> None:
        """Work the coefficients out for this moment."""
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
        waited_s, tolerated_s = (
            batch.oldest_s(now_s),
            LATE_FIRST * max(fixed_s + pending_s, FIRST_MIN_S / 2),
        )
        first = max(first, waited_s / tolerated_s)
        self.waiting_s = max(first * pending_s, waited_s - tolerated_s)
        silent_s = batch.silent_s(now_s)
        if silent_s:
            step = max(step, silent_s / (LATE_STEP * (step_s + pending_s)))
        there = batch.decoding + len(batch.prefilling) + batch.others.prefilling
        beside = self.speed.others_count * there
        prefill_s *= first
        context_s = step * y2 / TEN_THOUSAND
        self.costs = Costs(
            first * (fixed_s + pending_s),
            prefill_s,
            step * step_s,
            context_s,
            beside * prefill_s,
            beside * DECODED_SHARE * step * y1,
            beside * DECODED_SHARE * context_s,
        )

    def answers_max(self) -> float:
        """How many answers at once it can give as fast as they are read."""
        return self.reading.answers_max(self._step_factor * self.speed.step.weights[0])

    def work(self, ticket: Ticket) -> float:
        """How much of it a request takes up, where a mean one is 1: the time for its prompt, as far
        as prompts have to be computed, and its part of the steps that it shares.
        """
        speed = self.speed
        computed_s = self.costs.prefill_s * speed.prompt_tokens / speed.asked_tokens
        decoded_s = self.costs.step_s / (self.batch.decoding + 1)
        mean_s = computed_s * speed.asked_tokens + decoded_s * speed.answer_tokens
        own_s = computed_s * ticket.prompt_tokens + decoded_s * ticket.answer_tokens
        return min(max(own_s / mean_s, WORK_MIN), WORK_MAX)

    # What happens

    def begin(self, ticket: Ticket, cached_tokens: float, now_s: float) -> Generation:
        """A request is sent there."""
        uncached = max(ticket.prompt_tokens - cached_tokens, 1.0)
        answer = ticket.answer_tokens
        made = Generation(
            ticket.prompt_tokens, uncached, answer, streams=ticket.streams, now_s=now_s
        )
        made.expected_first_s = self.costs.first_token_s(uncached)
        made.expected_s = self.costs.end_s(ticket.prompt_tokens, uncached, answer)
        if not ticket.streams:
            made.first_due_s = now_s + made.expected_first_s
        self.batch.begin(made, now_s)
        return made

    def first(self, one: Generation, now_s: float) -> None:
        """The first token came: learn how long it took."""
        if one.first_s:
            return
        self.batch.first(one, now_s)
        speed = self.speed
        x = (1.0, one.ahead_decoding, one.ahead_tokens / THOUSAND)
        took_s = now_s - one.begun_s
        self._set_first(followed(self._first_factor, took_s / speed.first.seconds(x)))
        speed.first.learn(x, took_s * speed.first_factor / self._first_factor)
        self._heard_s = now_s

    def ended(self, one: Generation, used: Used | None, now_s: float) -> None:
        """The answer is whole and has left the batch: learn from its steps, or from all of it when
        they were not seen.
        """
        answer = used.answer_tokens if used is not None else one.heard_tokens
        if used is not None:
            self.speed.saw(used)
            self._prompts_seen += used.prompt_tokens - SMOOTHING * self._prompts_seen
            self._cached_seen += used.cached_tokens - SMOOTHING * self._cached_seen
        if one.is_first_seen:
            if one.heard_tokens:
                ratio = answer / one.heard_tokens
                self.speed.event_tokens += SMOOTHING * (ratio - self.speed.event_tokens)
            self._learn_steps(one, now_s)
        elif not one.streams:
            self._learn_whole(one, max(answer, 1), now_s)
        self._heard_s = now_s
        self._set_first(self._first_factor + FACTOR_REVERSION * (1 - self._first_factor))
        self._set_step(self._step_factor + FACTOR_REVERSION * (1 - self._step_factor))

    def heard(self, one: Generation, now_s: float) -> None:
        """More of its answer came."""
        if one.heard_tokens - one.since_tokens >= STRETCH_TOKENS:
            self._learn_steps(one, now_s)
            self.batch.mark(one, now_s)

    def _learn_steps(self, one: Generation, now_s: float) -> None:
        took_s = now_s - one.since_s
        steps = (one.heard_tokens - max(one.since_tokens, 1)) * self.speed.event_tokens
        if took_s <= 0 or steps <= 0:
            return
        batch, fit = self.batch, self.speed.step
        batch.advance(now_s)
        x = (
            1.0,
            (batch.decoding_s - one.decoding_then) / took_s,
            (batch.context_s - one.context_then) / took_s / TEN_THOUSAND,
            (batch.prefilled_tokens - one.prefilled_then) / THOUSAND / steps,
        )
        each_s = took_s / steps
        self.reading.saw(each_s, x[1])
        self._set_step(followed(self._step_factor, each_s / fit.seconds(x)))
        fit.learn(x, each_s * self.speed.step_factor / self._step_factor)

    def _learn_whole(self, one: Generation, answer: int, now_s: float) -> None:
        speed, batch = self.speed, self.batch
        x = (1.0, one.ahead_decoding, one.ahead_tokens / THOUSAND)
        y = (
            1.0,
            batch.decoding + 1.0,
            (batch.context_tokens + one.prompt_tokens) / TEN_THOUSAND,
            0.0,
        )
        first_s = self._first_factor * speed.first.seconds(x)
        each_s = self._step_factor * speed.step.seconds(y)
        ratio = (now_s - one.begun_s) / (first_s + answer * each_s)
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
    """A factor after one more answer took ``ratio`` times what its siblings' curve says."""
    news = max(1 / FACTOR_CLAMP, min(ratio / factor, FACTOR_CLAMP))
    return max(FACTOR_MIN, min(factor * (1 + FACTOR_SMOOTHING * (news - 1)), FACTOR_MAX))


_UNKNOWN = Engine(EngineSpeed(), Batch())


def guessed_s(ticket: Ticket) -> float:
    """Until the end of an answer on an engine of which nothing is known. Nothing for what is no
    generation.
    """
    prompt = ticket.prompt_tokens
    return _UNKNOWN.costs.end_s(prompt, prompt, ticket.answer_tokens) if prompt else 0.0
