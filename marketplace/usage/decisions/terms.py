"""The terms of each engine's score in a recorded decision, for a page. Pure.

``frontend/src/playground/report/terms.ts`` draws the same for a call that has just ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise

from marketplace.catalog.verdicts import TERMS
from router.domain.verdict import Verdict

Candidate = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One term as a segment of a bar, in ms; ``name`` is a key of `TERMS`."""

    name: str
    label: str | Promise
    begins_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Stack:
    """The bar of an engine's terms. ``cached`` counts tokens of the ``prompt``."""

    worker_id: str
    is_chosen: bool
    parts: tuple[Part, ...]
    total_ms: float
    cached: int
    prompt: int
    answer: int


def stacks(candidates: Sequence[Candidate]) -> list[Stack]:
    """The bars of candidates that have terms, in the same order."""
    return [_stack(candidate) for candidate in candidates if candidate.get("terms")]


def widest_ms(found: Sequence[Stack]) -> float:
    """The time of the longest bar."""
    return max((stack.total_ms for stack in found), default=0.0)


def penalty_ms(candidate: Candidate) -> float:
    """What price, order and preferences add to its score; records of old calls do not say it."""
    penalty: float = candidate.get("penalty_ms", 0.0)
    return penalty


def times_ms(candidate: Candidate) -> dict[str, float]:
    """Milliseconds by term, in order of time; the penalty alone for a place that is no engine."""
    penalty, terms = penalty_ms(candidate), candidate.get("terms")
    if not terms:
        return {"penalty": penalty}
    known = {"wait": candidate["wait_ms"], "penalty": penalty}
    return {name: known[name] if name in known else terms[f"{name}_ms"] for name in TERMS}


def most_behind(lost: Candidate, chosen: Candidate, behind_ms: float) -> str | Promise | None:
    """The term that makes up more than half of the loser's ``behind_ms``; None if none does."""
    ours = times_ms(chosen)
    worse = {name: ms - ours.get(name, ms) for name, ms in times_ms(lost).items()}
    name = max(worse, key=lambda term: worse[term])
    return TERMS[name][0] if worse[name] > behind_ms / 2 else None


def _stack(candidate: Candidate) -> Stack:
    parts: list[Part] = []
    total_ms = 0.0
    for name, took_ms in times_ms(candidate).items():
        parts.append(Part(name, TERMS[name][0], total_ms, took_ms))
        total_ms += took_ms
    terms = candidate["terms"]
    return Stack(
        worker_id=candidate["worker_id"],
        is_chosen=candidate["verdict"] == Verdict.CHOSEN,
        parts=tuple(parts),
        total_ms=total_ms,
        cached=terms["cached_tokens"],
        prompt=terms["prompt_tokens"],
        answer=terms["answer_tokens"],
    )
