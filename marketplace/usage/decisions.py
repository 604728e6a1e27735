"""The decision and the tries of one recorded call, as a page shows them. Pure.

The playground says the same of a call that has just ended: ``frontend/src/playground/explain.ts``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.catalog.templatetags.units import duration
from marketplace.catalog.verdicts import VERDICTS, said
from marketplace.usage.terms import most_behind
from router.contracts.record import AttemptRecord, hedge_ms
from router.domain.verdict import SCORED, Verdict

Candidate = Mapping[str, Any]
REASONS_MAX = 6
"""Sentences about those that lost; the table beside them has all."""
MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate; ``rest`` is what of its score is not expected service, in seconds.

    Weighted waiting, what it adds to others on an engine, and what price, order and wishes add.
    Places that were ruled out have no score.
    """

    candidate: Candidate
    scored: bool
    rest: float


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt as a bar: when it began and how long it took, in ms since the call arrived."""

    number: int
    attempt: Mapping[str, Any]
    begins_ms: float
    took_ms: float


def places(candidates: Sequence[Candidate]) -> list[Place]:
    """The chosen one first, then by score, those that were ruled out last."""

    def rank(one: Candidate) -> tuple[int, float]:
        verdict = one["verdict"]
        return 0 if verdict == Verdict.CHOSEN else 2 - (verdict in SCORED), one["score"]

    return [
        Place(
            candidate=one,
            scored=one["verdict"] in SCORED,
            rest=max(one["score"] - one["service_ms"] / MS_PER_S, 0.0),
        )
        for one in sorted(candidates, key=rank)
    ]


def reasons(ordered: Sequence[Place], sent: Sequence[Try] = ()) -> list[str]:
    """A sentence about the chosen place, then one for each that lost.

    The places are those of the last try: what was tried before is not among them.
    """
    if not ordered or ordered[0].candidate["verdict"] != "chosen":
        return []
    chosen, lost = ordered[0].candidate, ordered[1:]
    if not lost:
        tried = any(one.attempt["worker_id"] != chosen["worker_id"] for one in sent)
        return [said("whyLeft" if tried else "whyOnly", worker=chosen["worker_id"])]
    score = f"{chosen['score']:.3f}"
    sentences = [said("whyChosen", worker=chosen["worker_id"], n=len(ordered), score=score)]
    for place in lost[:REASONS_MAX]:
        one = place.candidate
        reason = str(VERDICTS.get(one["verdict"], one["verdict"]))
        behind_ms = MS_PER_S * (one["score"] - chosen["score"])
        if place.scored and behind_ms > 0:
            reason += "; " + said("whyBehind", seconds=duration(behind_ms))
            term = most_behind(one, chosen, behind_ms)
            reason += f" ({said('whyMost', term=str(term).lower())})" if term else ""
        sentences.append(said("whyLost", worker=one["worker_id"], reason=reason))
    if len(lost) > REASONS_MAX:
        sentences.append(said("whyMore", n=len(lost) - REASONS_MAX))
    return sentences


def tries(attempts: Sequence[Mapping[str, Any]]) -> list[Try]:
    """In the order they were sent."""
    ordered = sorted(attempts, key=lambda attempt: attempt["queue_ms"])
    return [
        Try(i + 1, attempt, attempt["queue_ms"], attempt["upstream_ms"])
        for i, attempt in enumerate(ordered)
    ]


def hedge_of(sent: Sequence[Try], worker_id: str, queue_ms: float) -> float:
    """What of ``queue_ms`` passed beside an earlier try; ``worker_id`` answered in the end."""
    attempts = [
        AttemptRecord(0, one.attempt["worker_id"], "", "", one.begins_ms, one.took_ms)
        for one in sent
    ]
    return hedge_ms(attempts, worker_id, queue_ms)


def retries(ordered: Sequence[Try]) -> list[str]:
    """What became of each try but the one that answered, where there were several."""
    if len(ordered) < 2:
        return []
    won = next((one for one in ordered if one.attempt["outcome"] == "completed"), None)
    found = []
    for one in ordered:
        worker, outcome = one.attempt["worker_id"], one.attempt["outcome"]
        if outcome == "outrun":
            # Either of two tries may win: the later one was sent because the earlier was late.
            hedge = won is not None and won.begins_ms < one.begins_ms
            found.append(said("outrunHedge" if hedge else "outrun", worker=worker))
        elif outcome != "completed":
            over = one is ordered[-1] and won is None
            found.append(said("gaveUp" if over else "retried", worker=worker, outcome=outcome))
    return found
