"""What other routers have on an engine, and what they are told of this one's work there.

Routers tell each other now and then, and what they are told is old when it is used. The state of a
moment is worse than nothing then: all run to where it was empty, and from there all together
(Mitzenmacher, "How useful is old information?", 2000). So work is told as an average over some
seconds, which says who uses what, and by it an engine's times are told apart from its load.
"""

from collections.abc import Iterable
from math import exp

from router.contracts.word import NO_LOAD, Load
from router.scheduling.batch import Batch

AVERAGED_S = 4.5
"""Time over which loads are averaged: a few times what a router takes to hear of another."""


class OwnLoad:
    """What this router has in a batch, on average."""

    __slots__ = ("_at_s", "_batch", "_context_s", "_decoding_s", "_mean", "_prefilled")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._at_s = self._decoding_s = self._context_s = self._prefilled = 0.0
        self._mean: Load | None = None

    def mean(self, now_s: float) -> Load:
        """Up to now, the latest seconds counting most."""
        batch = self._batch
        decoding_s, context_s, prefilled = batch.own_integrals(now_s)
        passed_s = now_s - self._at_s
        if passed_s <= 0:
            return self._mean or NO_LOAD
        others = batch.others
        latest = Load(
            len(batch.prefilling),
            max(batch.pending_tokens - others.pending_tokens, 0.0),
            max((decoding_s - self._decoding_s) / passed_s, 0.0),
            max((context_s - self._context_s) / passed_s, 0.0),
            max((prefilled - self._prefilled) / passed_s, 0.0),
        )
        self._at_s = now_s
        self._decoding_s, self._context_s, self._prefilled = decoding_s, context_s, prefilled
        before = self._mean if self._mean is not None else latest
        self._mean = moved(before, latest, 1 - exp(-passed_s / AVERAGED_S))
        return self._mean


class Averaged:
    """A figure that is told now and then; ``mean`` is None before."""

    __slots__ = ("_at_s", "mean")

    def __init__(self) -> None:
        self._at_s = 0.0
        self.mean: float | None = None

    def saw(self, value: float, now_s: float) -> None:
        """It is this now."""
        mean = self.mean if self.mean is not None else value
        self.mean = mean + (1 - exp((self._at_s - now_s) / AVERAGED_S)) * (value - mean)
        self._at_s = now_s

    def forget(self) -> None:
        """It is not known any more."""
        self.mean = None


def corrected(said: Load, requests: float, prompt_tokens: float) -> Load:
    """What others have on an engine that itself counts so many ``requests`` of theirs.

    More than they say are taken for answers under way on prompts of the mean length, fewer for the
    same work in less of it.
    """
    known = said.prefilling + said.decoding
    if requests < known:
        return moved(NO_LOAD, said, requests / known)
    more = requests - known
    return Load(
        said.prefilling,
        said.pending_tokens,
        said.decoding + more,
        said.context_tokens + more * prompt_tokens,
        said.prefilled_hz,
    )


def moved(before: Load, latest: Load, share: float) -> Load:
    """A load that has come nearer to the latest by a share of what they differ."""
    return Load(
        before.prefilling + share * (latest.prefilling - before.prefilling),
        before.pending_tokens + share * (latest.pending_tokens - before.pending_tokens),
        before.decoding + share * (latest.decoding - before.decoding),
        before.context_tokens + share * (latest.context_tokens - before.context_tokens),
        before.prefilled_hz + share * (latest.prefilled_hz - before.prefilled_hz),
    )


def together(loads: Iterable[Load]) -> Load:
    """All of them at once."""
    prefilling = pending_tokens = decoding = context_tokens = prefilled_hz = 0.0
    for one in loads:
        prefilling += one.prefilling
        pending_tokens += one.pending_tokens
        decoding += one.decoding
        context_tokens += one.context_tokens
        prefilled_hz += one.prefilled_hz
    return Load(prefilling, pending_tokens, decoding, context_tokens, prefilled_hz)
