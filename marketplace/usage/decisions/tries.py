"""The decision and the tries of one recorded call, for its page. Pure.

``frontend/src/playground/report/explain.ts`` says the same of a call that has just ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.templatetags.units import duration
from marketplace.catalog.verdicts import VERDICTS, said
from marketplace.usage.decisions.terms import most_behind, penalty_ms
from marketplace.usage.models import OUTCOMES
from router.contracts.record import AttemptRecord, hedge_ms
from router.domain.outcome import Outcome
from router.domain.verdict import SCORED, Verdict

Candidate = Mapping[str, Any]
ATTEMPT_OUTCOMES = {**OUTCOMES, Outcome.OUTRUN: _("Overtaken")}
REASONS_MAX = 6
"""Sentences about losing places at most; the table has all."""
MS_PER_S = 1000
SCORE_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A candidate; its score in seconds is the expected service, the ``penalty`` and the ``rest``.

    The penalty is for price, order and preferences. The rest is weighted waiting, and the delay it
    causes others on an engine. Places that were ruled out have no score.
    """

    candidate: Candidate
    scored: bool
    penalty: float
    rest: float


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt as a bar: when it began and how long it took, in ms since the call arrived."""

    number: int
    attempt: Mapping[str, Any]
    begins_ms: float
    took_ms: float

    @property
    def outcome(self) -> str:
        """How it ended, in words, with what the worker's end said of it."""
        how, colon, detail = self.attempt["outcome"].partition(":")
        return f"{ATTEMPT_OUTCOMES.get(how, how)}{colon and ': '}{detail}"


def places(candidates: Sequence[Candidate]) -> list[Place]:
    """The candidates as places: the chosen one first, then by score, ruled-out ones last."""

    def rank(candidate: Candidate) -> tuple[int, float]:
        verdict = candidate["verdict"]
        return 0 if verdict == Verdict.CHOSEN else 2 - (verdict in SCORED), candidate["score"]

    return [_place(candidate) for candidate in sorted(candidates, key=rank)]


def _place(candidate: Candidate) -> Place:
    penalty = penalty_ms(candidate) / MS_PER_S
    return Place(
        candidate=candidate,
        scored=candidate["verdict"] in SCORED,
        penalty=penalty,
        rest=max(candidate["score"] - candidate["service_ms"] / MS_PER_S - penalty, 0.0),
    )


def reasons(ordered: Sequence[Place], sent: Sequence[Try] = ()) -> list[str]:
    """A sentence about the chosen place, then one for each losing place.

    ``ordered`` has the places of the last try; earlier tries are not among them.
    """
    if not ordered or ordered[0].candidate["verdict"] != "chosen":
        return []
    chosen, lost = ordered[0].candidate, ordered[1:]
    if not lost:
        tried = any(try_.attempt["worker_id"] != chosen["worker_id"] for try_ in sent)
        return [said("whyLeft" if tried else "whyOnly", worker=chosen["worker_id"])]
    score = number_format(round(chosen["score"], SCORE_DECIMALS), decimal_pos=SCORE_DECIMALS)
    sentences = [said("whyChosen", worker=chosen["worker_id"], n=len(ordered), score=score)]
    for place in lost[:REASONS_MAX]:
        loser = place.candidate
        reason = str(VERDICTS.get(loser["verdict"], loser["verdict"]))
        behind_ms = MS_PER_S * (loser["score"] - chosen["score"])
        if place.scored and behind_ms > 0:
            reason += "; " + said("whyBehind", seconds=duration(behind_ms))
            term = most_behind(loser, chosen, behind_ms)
            reason += f" ({said('whyMost', term=str(term).lower())})" if term else ""
        sentences.append(said("whyLost", worker=loser["worker_id"], reason=reason))
    if len(lost) > REASONS_MAX:
        sentences.append(said("whyMore", n=len(lost) - REASONS_MAX))
    return sentences


def tries(attempts: Sequence[Mapping[str, Any]]) -> list[Try]:
    """The attempts in the order they were sent."""
    ordered = sorted(attempts, key=lambda attempt: attempt["queue_ms"])
    return [
        Try(i + 1, attempt, attempt["queue_ms"], attempt["upstream_ms"])
        for i, attempt in enumerate(ordered)
    ]


def hedge_of(sent: Sequence[Try], worker_id: str, queue_ms: float) -> float:
    """The part of ``queue_ms`` while an earlier try ran; ``worker_id`` answered in the end."""
    attempts = [
        AttemptRecord(0, try_.attempt["worker_id"], "", "", try_.begins_ms, try_.took_ms)
        for try_ in sent
    ]
    return hedge_ms(attempts, worker_id, queue_ms)


def retries(ordered: Sequence[Try]) -> list[str]:
    """Sentences about each try but the one that answered; empty for a single try."""
    if len(ordered) < 2:
        return []
    won = next((try_ for try_ in ordered if try_.attempt["outcome"] == "completed"), None)
    found = []
    for try_ in ordered:
        worker, outcome = try_.attempt["worker_id"], try_.attempt["outcome"]
        if outcome == "outrun":
            # Either of two tries may win: the later one is a hedge for a late earlier one.
            hedge = won is not None and won.begins_ms < try_.begins_ms
            found.append(said("outrunHedge" if hedge else "outrun", worker=worker))
        elif outcome != "completed":
            over = try_ is ordered[-1] and won is None
            found.append(said("gaveUp" if over else "retried", worker=worker, outcome=outcome))
    return found
