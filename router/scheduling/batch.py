"""What an engine is working on now: prompts that wait or are computed, answers that are decoded.

Counters and their integrals over time, so that every event costs the same however much runs and an
answer that ends can be told the mean batch that it was decoded in. What other routers have there is
counted with it.
"""

from collections import deque
from math import inf

from router.contracts.word import NO_LOAD, Load


class Generation:
    """One attempt's part of a batch. Tokens are estimates until its worker has counted them.

    ``uncached_tokens`` of the prompt have to be computed; ``ahead_tokens`` were waiting to be when
    it came (its own included), beside ``ahead_decoding`` answers. ``first_s`` is when its first
    token came, 0 before; an answer that is not streamed is taken to begin at ``first_due_s``. A
    stream is looked at in stretches: ``since_s`` is when the present one began, at
    ``since_tokens``, and the ``_then`` are the batch's integrals at that moment.
    """

    __slots__ = (
        "ahead_decoding",
        "ahead_tokens",
        "answer_tokens",
        "begun_s",
        "context_then",
        "decoding_at_begin",
        "decoding_then",
        "expected_answer",
        "expected_first_s",
        "expected_s",
        "first_due_s",
        "first_s",
        "heard_tokens",
        "is_first_seen",
        "prefilled_then",
        "prompt_tokens",
        "since_s",
        "since_tokens",
        "streams",
        "uncached_tokens",
    )

    def __init__(
        self,
        prompt_tokens: float,
        uncached_tokens: float,
        expected_answer: float,
        *,
        streams: bool,
        now_s: float,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.uncached_tokens = uncached_tokens
        self.expected_answer = expected_answer
        self.streams = streams
        self.begun_s = now_s
        self.ahead_tokens = uncached_tokens
        self.ahead_decoding = 0.0
        self.expected_first_s = 0.0
        self.expected_s = 0.0
        self.first_due_s = inf
        self.first_s = 0.0
        self.is_first_seen = False
        self.heard_tokens = 0
        self.decoding_then = self.context_then = self.prefilled_then = 0.0
        self.decoding_at_begin = 0.0
        self.since_s = 0.0
        self.since_tokens = 0


class Batch:
    """See the module. ``decoding_s`` and ``context_s`` integrate over time, ``prefilled_tokens``
    only grows; ``heard_s`` is when a token last came of any stream. ``others`` is what of all this
    is not this router's.
    """

    __slots__ = (
        "_at_s",
        "_others_context_s",
        "_others_decoding_s",
        "_others_prefilled",
        "_others_since_s",
        "_unseen",
        "context_s",
        "context_tokens",
        "decoding",
        "decoding_s",
        "heard_s",
        "others",
        "pending_tokens",
        "prefilled_tokens",
        "prefilling",
        "streaming",
    )

    def __init__(self) -> None:
        self.prefilling: dict[Generation, None] = {}
        self.pending_tokens = 0.0
        self.prefilled_tokens = 0.0
        self.context_tokens = 0.0
        self.decoding = 0.0
        self.streaming = 0
        self.decoding_s = 0.0
        self.context_s = 0.0
        self.heard_s = 0.0
        self.others = NO_LOAD
        self._others_since_s = 0.0
        self._others_decoding_s = self._others_context_s = self._others_prefilled = 0.0
        self._at_s = 0.0
        self._unseen: deque[Generation] = deque()

    def begin(self, one: Generation, now_s: float) -> None:
        """A prompt was sent. Sets what is ahead of it."""
        self.advance(now_s)
        one.ahead_decoding = self.decoding
        one.decoding_at_begin = self.decoding_s
        self.pending_tokens += one.uncached_tokens
        one.ahead_tokens = self.pending_tokens
        self.context_tokens += one.prompt_tokens
        self.prefilling[one] = None
        if not one.streams:
            self._unseen.append(one)

    def first(self, one: Generation, now_s: float, *, seen: bool = True) -> None:
        """Its first token came, or must have come by now."""
        if self.prefilling.pop(one, one) is one:
            return
        self.advance(now_s)
        self._prefilled(one)
        self.decoding += 1
        self.streaming += seen
        if seen:
            self.heard_s = now_s
        one.first_s = now_s
        one.is_first_seen = seen
        self.mark(one, now_s)

    def mark(self, one: Generation, now_s: float) -> None:
        """A stretch of its answer begins."""
        self.advance(now_s)
        one.since_s = now_s
        one.since_tokens = one.heard_tokens
        one.decoding_then = self.decoding_s
        one.context_then = self.context_s
        one.prefilled_then = self.prefilled_tokens

    def end(self, one: Generation, now_s: float) -> None:
        """It is over, well or not."""
        self.advance(now_s)
        self.context_tokens -= one.prompt_tokens
        if one.first_s:
            self.decoding -= 1
            self.streaming -= one.is_first_seen
        elif one in self.prefilling:
            del self.prefilling[one]
            self.pending_tokens -= one.uncached_tokens
        if not self.prefilling:
            self.pending_tokens = self.others.pending_tokens  # Sums of floats drift.

    def share(self, others: Load, now_s: float) -> None:
        """Others have this there from now on, instead of what they had."""
        self.own_integrals(now_s)
        before, self.others = self.others, others
        self.pending_tokens += others.pending_tokens - before.pending_tokens
        self.context_tokens += others.context_tokens - before.context_tokens
        self.decoding += others.decoding - before.decoding

    def own_integrals(self, now_s: float) -> tuple[float, float, float]:
        """``decoding_s``, ``context_s``, ``prefilled_tokens`` up to now, of this router alone."""
        self.advance(now_s)
        others, passed_s = self.others, now_s - self._others_since_s
        self._others_since_s = now_s
        self._others_decoding_s += others.decoding * passed_s
        self._others_context_s += others.context_tokens * passed_s
        self._others_prefilled += others.prefilled_hz * passed_s
        return (
            self.decoding_s - self._others_decoding_s,
            self.context_s - self._others_context_s,
            self.prefilled_tokens - self._others_prefilled,
        )

    def look(self, now_s: float) -> None:
        """Take answers that show nothing to have begun when they should have."""
        while self._unseen and self._unseen[0].first_due_s <= now_s:
            self.first(self._unseen.popleft(), now_s, seen=False)

    def oldest_s(self, now_s: float) -> float:
        """Age of the streamed prompt that waits longest for its first token; 0 without one."""
        for one in self.prefilling:
            if one.streams:
                return now_s - one.begun_s
        return 0.0

    def silent_s(self, now_s: float) -> float:
        """For how long answers have been under way without a token of any; 0 when none is."""
        return now_s - self.heard_s if self.streaming else 0.0

    def _prefilled(self, one: Generation) -> None:
        self.pending_tokens -= one.uncached_tokens
        self.prefilled_tokens += one.uncached_tokens
        if not self.prefilling:
            self.pending_tokens = self.others.pending_tokens

    def advance(self, now_s: float) -> None:
        """Bring the integrals up to now."""
        passed_s = now_s - self._at_s
        self.decoding_s += self.decoding * passed_s
        self.context_s += self.context_tokens * passed_s
        self.prefilled_tokens += self.others.prefilled_hz * passed_s
        self._at_s = now_s
