"""The cost of a generation on one engine at one moment, and its parts."""

from math import inf

from msgspec import Struct


class Terms(Struct, frozen=True, gc=False):
    """The parts of a cost, in seconds, and the tokens that it is for.

    ``ahead_s`` passes before the engine begins with the prompt: others are ahead of it, or it has
    no room yet. ``prefill_s`` passes while it reads the uncached part, ``decode_s`` while it writes
    the answer. ``others_s`` is how much longer all other requests on the engine take together
    because of it.
    """

    ahead_s: float
    prefill_s: float
    decode_s: float
    others_s: float
    prompt_tokens: float
    cached_tokens: float
    answer_tokens: float

    @property
    def own_s(self) -> float:
        """Seconds until the last token of the request itself."""
        return self.ahead_s + self.prefill_s + self.decode_s


class Costs(Struct, frozen=True, gc=False):
    """Seconds that a request takes: ``ahead + uncached tokens x prefill + answer tokens x (step +
    prompt tokens x context)``. The ``whole_`` fields include what its tokens cost other requests.
    A prompt of more than ``room_tokens`` waits ``freed_s`` for each token more, until running
    requests have left the KV cache.

    It is immutable: a kept value still says later what was expected at that moment.
    """

    ahead_s: float
    prefill_s: float
    step_s: float
    context_s: float
    whole_prefill_s: float
    whole_step_s: float
    whole_context_s: float
    room_tokens: float = inf
    freed_s: float = 0.0

    def room_s(self, prompt_tokens: float) -> float:
        """Seconds until there is room for a prompt; 0 if it fits now."""
        return max(prompt_tokens - self.room_tokens, 0.0) * self.freed_s

    def first_token_s(self, prompt_tokens: float, cached_tokens: float = 0.0) -> float:
        """Seconds until the first token."""
        uncached = prompt_tokens - cached_tokens
        return self.ahead_s + self.room_s(prompt_tokens) + uncached * self.prefill_s

    def end_s(self, prompt_tokens: float, uncached_tokens: float, answer_tokens: float) -> float:
        """Seconds until the last token."""
        first_s = self.ahead_s + uncached_tokens * self.prefill_s
        if prompt_tokens > self.room_tokens:
            first_s += self.room_s(prompt_tokens)
        return first_s + answer_tokens * (self.step_s + prompt_tokens * self.context_s)

    def whole_s(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Seconds until the last token plus those added to other requests, with nothing cached."""
        room_s = self.room_s(prompt_tokens) if prompt_tokens > self.room_tokens else 0.0
        each_s = self.whole_step_s + prompt_tokens * self.whole_context_s
        first_s = self.ahead_s + room_s + prompt_tokens * self.whole_prefill_s
        return first_s + answer_tokens * each_s

    def saved_s(self, cached_tokens: float) -> float:
        """By how much :meth:`whole_s` is less if this much of the prompt is cached."""
        return cached_tokens * self.whole_prefill_s

    def terms(self, prompt_tokens: float, cached_tokens: float, answer_tokens: float) -> Terms:
        """:meth:`whole_s` less :meth:`saved_s`, in its parts."""
        uncached = prompt_tokens - cached_tokens
        others_prefill_s = self.whole_prefill_s - self.prefill_s
        others_step_s = self.whole_step_s - self.step_s
        others_each_s = others_step_s + prompt_tokens * (self.whole_context_s - self.context_s)
        return Terms(
            self.ahead_s + self.room_s(prompt_tokens),
            uncached * self.prefill_s,
            answer_tokens * (self.step_s + prompt_tokens * self.context_s),
            uncached * others_prefill_s + answer_tokens * others_each_s,
            prompt_tokens,
            cached_tokens,
            answer_tokens,
        )
