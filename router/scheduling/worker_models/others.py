"""The load of other routers on an engine, and what they learn about this router's load.

Routers tell each other from time to time, so what they hear is old when it is used. An old
momentary state is worse than none: all routers run to where it was empty, and from there on
together (Mitzenmacher, "How useful is old information?", 2000). So loads are told as averages over
a few seconds. These say who uses what, and tell an engine's own speed apart from its load.
"""

from collections.abc import Iterable
from math import exp

from router.contracts.word import NO_LOAD, Load
from router.scheduling.worker_models.batch import Batch

AVERAGED_S = 4.5
"""The averaging time: a few times what a router takes to hear of another."""


class OwnLoad:
    """The mean load of this router in a batch."""

    __slots__ = ("_at_s", "_batch", "_context_s", "_decoding_s", "_mean", "_prefilled")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._at_s = self._decoding_s = self._context_s = self._prefilled = 0.0
        self._mean: Load | None = None

    def mean(self, now_s: float) -> Load:
        """The mean up to now; the latest seconds count most."""
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
    """The mean of a figure that comes from time to time; ``mean`` is None before the first."""

    __slots__ = ("_at_s", "mean")

    def __init__(self) -> None:
        self._at_s = 0.0
        self.mean: float | None = None

    def observe(self, value: float, now_s: float) -> None:
        """Take in a new value."""
        mean = self.mean if self.mean is not None else value
        self.mean = mean + (1 - exp((self._at_s - now_s) / AVERAGED_S)) * (value - mean)
        self._at_s = now_s

    def forget(self) -> None:
        """The figure is not known any more."""
        self.mean = None


def corrected(load: Load, requests: float, prompt_tokens: float) -> Load:
    """The load of other routers on an engine that itself counts ``requests`` of theirs.

    If the engine counts more than they say, the rest are assumed to be running answers to prompts
    of mean length. If it counts fewer, their whole load is scaled down.
    """
    known = load.prefilling + load.decoding
    if requests < known:
        return moved(NO_LOAD, load, requests / known)
    more = requests - known
    return Load(
        load.prefilling,
        load.pending_tokens,
        load.decoding + more,
        load.context_tokens + more * prompt_tokens,
        load.prefilled_hz,
    )


def moved(before: Load, latest: Load, share: float) -> Load:
    """A load moved towards the latest by a share of their difference."""
    return Load(
        before.prefilling + share * (latest.prefilling - before.prefilling),
        before.pending_tokens + share * (latest.pending_tokens - before.pending_tokens),
        before.decoding + share * (latest.decoding - before.decoding),
        before.context_tokens + share * (latest.context_tokens - before.context_tokens),
        before.prefilled_hz + share * (latest.prefilled_hz - before.prefilled_hz),
    )


def together(loads: Iterable[Load]) -> Load:
    """The sum of loads."""
    prefilling = pending_tokens = decoding = context_tokens = prefilled_hz = 0.0
    for load in loads:
        prefilling += load.prefilling
        pending_tokens += load.pending_tokens
        decoding += load.decoding
        context_tokens += load.context_tokens
        prefilled_hz += load.prefilled_hz
    return Load(prefilling, pending_tokens, decoding, context_tokens, prefilled_hz)
