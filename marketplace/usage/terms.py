"""Of what each engine's score in a recorded decision is made, as a page shows it. Pure.

The playground draws the same of a call that has just ended: ``frontend/src/playground/terms.ts``.
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
    """One term as a part of a bar, in ms; ``name`` is a key of `TERMS`."""

    name: str
    label: str | Promise
    begins_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Stack:
    """An engine's terms one after the other. ``cached`` are tokens of the ``prompt``."""

    worker_id: str
    is_chosen: bool
    parts: tuple[Part, ...]
    total_ms: float
    cached: int
    prompt: int
    answer: int


def stacks(candidates: Sequence[Candidate]) -> list[Stack]:
    """Those that have terms, in the same order."""
    return [_stack(one) for one in candidates if one.get("terms")]


def widest_ms(found: Sequence[Stack]) -> float:
    """What a bar of the whole width stands for."""
    return max((one.total_ms for one in found), default=0.0)


def times_ms(candidate: Candidate) -> dict[str, float]:
    """Milliseconds by term, in the order in which they pass."""
    terms = candidate["terms"]
    return {"wait": candidate["wait_ms"]} | {
        name: terms[f"{name}_ms"] for name in TERMS if name != "wait"
    }


def most_behind(lost: Candidate, chosen: Candidate, behind_ms: float) -> str | Promise | None:
    """The term by which one that lost is most of ``behind_ms`` worse; None where no term is."""
    if not lost.get("terms") or not chosen.get("terms"):
        return None
    ours = times_ms(chosen)
    worse = {name: ms - ours[name] for name, ms in times_ms(lost).items()}
    name = max(worse, key=lambda one: worse[one])
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
