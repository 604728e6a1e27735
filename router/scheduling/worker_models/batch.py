"""What an engine works on now: prompts that wait or are computed, and answers that are decoded.

It keeps counters and their integrals over time. So every event costs the same however much runs,
and the mean batch of an answer is known when it ends. The work of other routers is included.
"""

from collections import deque
from math import inf

from router.contracts.word import NO_LOAD, Load
from router.scheduling.worker_models.kv_room import KvRoom


class Generation:
    """One attempt's part of a batch. Tokens are estimates until the worker has counted them.

    ``uncached_tokens`` of the prompt have to be computed. When it came, ``ahead_tokens`` were
    waiting for that (its own included), beside ``ahead_decoding`` running answers. ``first_s`` is
    the time of its first token, 0 before. An answer that is not streamed is assumed to begin at
    ``first_due_s``. A stream is measured in stretches: the current one began at ``since_s`` with
    ``since_tokens``, and the ``_then`` fields are the batch's integrals at that moment.
    ``waits_for_room`` says that it did not fit into the KV cache when it was sent.
    """

    __slots__ = (
        "ahead_decoding",
        "ahead_tokens",
        "answer_tokens",
        "begun_s",
        "context_then",
        "decoding_at_begin",
        "decoding_then",
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
        "waits_for_room",
    )

    def __init__(
        self,
        prompt_tokens: float,
        uncached_tokens: float,
        *,
        streams: bool,
        now_s: float,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.uncached_tokens = uncached_tokens
        self.streams = streams
        self.begun_s = now_s
        self.waits_for_room = False
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
    """See the module.

    ``decoding_s`` and ``context_s`` are integrals over time, and ``prefilled_tokens`` only grows.
    ``heard_s`` is when the last token of any stream came. ``room`` is that of the KV cache.
    ``others`` is the part of all this that belongs to other routers.
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
        "room",
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
        self.room = KvRoom()
        self._others_since_s = 0.0
        self._others_decoding_s = self._others_context_s = self._others_prefilled = 0.0
        self._at_s = 0.0
        self._unseen: deque[Generation] = deque()

    def begin(self, generation: Generation, now_s: float) -> None:
        """A prompt was sent. Sets what is ahead of it."""
        self.advance(now_s)
        generation.ahead_decoding = self.decoding
        generation.decoding_at_begin = self.decoding_s
        self.pending_tokens += generation.uncached_tokens
        generation.ahead_tokens = self.pending_tokens
        self.context_tokens += generation.prompt_tokens
        self.prefilling[generation] = None
        if not generation.streams:
            self._unseen.append(generation)

    def first(self, generation: Generation, now_s: float, *, seen: bool = True) -> None:
        """Its first token came, or must have come by now."""
        if self.prefilling.pop(generation, generation) is generation:
            return
        self.advance(now_s)
        self._prefilled(generation)
        self.decoding += 1
        self.streaming += seen
        if seen:
            self.heard_s = now_s
        generation.first_s = now_s
        generation.is_first_seen = seen
        self.mark(generation, now_s)

    def mark(self, generation: Generation, now_s: float) -> None:
        """Begin a new stretch of its answer."""
        self.advance(now_s)
        generation.since_s = now_s
        generation.since_tokens = generation.heard_tokens
        generation.decoding_then = self.decoding_s
        generation.context_then = self.context_s
        generation.prefilled_then = self.prefilled_tokens

    def end(self, generation: Generation, now_s: float) -> None:
        """It is over, well or not."""
        self.advance(now_s)
        self.context_tokens -= generation.prompt_tokens
        if generation.first_s:
            self.decoding -= 1
            self.streaming -= generation.is_first_seen
        elif generation in self.prefilling:
            del self.prefilling[generation]
            self.pending_tokens -= generation.uncached_tokens
        if not self.prefilling:
            self.pending_tokens = self.others.pending_tokens  # Sums of floats drift.

    def set_others(self, others: Load, now_s: float) -> None:
        """Replace the work of other routers."""
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

    def reported(self, kv_share: float | None) -> None:
        """The engine reports which share of its KV cache is in use; None if it does not."""
        waiting = sum([generation.prompt_tokens for generation in self.prefilling])
        self.room.reported(kv_share, self.context_tokens, waiting)

    def look(self, now_s: float) -> None:
        """Assume that answers whose first token is not seen have begun when due."""
        while self._unseen and self._unseen[0].first_due_s <= now_s:
            self.first(self._unseen.popleft(), now_s, seen=False)

    def oldest_s(self, now_s: float) -> float:
        """The age of the streamed prompt that has waited longest for its first token, or 0."""
        for generation in self.prefilling:
            if generation.streams:
                return now_s - generation.begun_s
        return 0.0

    def silent_s(self, now_s: float) -> float:
        """How long no token of any running answer has come; 0 if none runs."""
        return now_s - self.heard_s if self.streaming else 0.0

    def _prefilled(self, generation: Generation) -> None:
        self.pending_tokens -= generation.uncached_tokens
        self.prefilled_tokens += generation.uncached_tokens
        if not self.prefilling:
            self.pending_tokens = self.others.pending_tokens

    def advance(self, now_s: float) -> None:
        """Bring the integrals up to now."""
        passed_s = now_s - self._at_s
        self.decoding_s += self.decoding * passed_s
        self.context_s += self.context_tokens * passed_s
        self.prefilled_tokens += self.others.prefilled_hz * passed_s
        self._at_s = now_s
