"""What a benchmark is asked to do. Pure: no Django, so that the load's own process reads it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SCENARIOS = ("single_stream", "multi_stream", "server", "offline")
TASKS = (
    "chat",
    "embeddings",
    "rerank",
    "moderation",
    "image",
    "speech",
    "transcription",
    "tabular",
    "vision",
)

LOADS_MAX = 16
LOAD_MAX = 4_096.0
SAMPLES_MAX = 100_000
OFFLINE_TURNS_MIN = 2
"""Requests of an offline point for each that it keeps in flight: fewer than its load are no such
load."""
IN_FLIGHT_MAX = 4_096
"""Most requests at once that a server scenario may pile up; beyond it they wait in the load's own
process, and it shows in their latency."""
SECONDS_MAX = 600.0
WARM_UP_MAX = 1_000
PROMPT_TOKENS_MAX = 32_768
COMPLETION_TOKENS_MAX = 8_192
ROWS_MAX = 4_096
SLO_MS_MAX = 600_000.0
SEED_MAX = 2**31 - 1


class PlanInvalid(ValueError):
    """What is wrong with a plan, and what would be right."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One load curve.

    ``loads`` rise: in the single stream scenario just 1, in multi stream the samples of a query, in
    offline how many requests are kept in flight, in the server scenario requests a second.
    Each point lasts until ``samples_min`` samples and ``seconds_min`` are reached, and no longer
    than ``seconds_max``; ``warm_up`` requests before it are not counted. ``percentile`` of the
    answers has to be within ``slo_ms``; of a chat's first tokens also within ``ttft_slo_ms``
    and of its further ones each within ``tpot_slo_ms`` (0: not asked). Prompts have
    ``prompt_tokens`` and answers ``completion_tokens``, those of chats on average
    (:mod:`.requests`). ``rows`` are a tabular or
    vision request's, the images of an image request, the seconds of a recording, or the texts of
    ``prompt_tokens`` of an embeddings, reranking or moderation request.
    """

    task: str
    scenario: str = "offline"
    loads: tuple[float, ...] = (1, 2, 4, 8)
    samples_min: int = 100
    seconds_min: float = 5.0
    seconds_max: float = 60.0
    warm_up: int = 8
    slo_ms: float = 1_000.0
    ttft_slo_ms: float = 0.0
    tpot_slo_ms: float = 0.0
    percentile: float = 0.99
    prompt_tokens: int = 64
    completion_tokens: int = 64
    rows: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        _one_of("scenario", self.scenario, SCENARIOS)
        if not 1 <= len(self.loads) <= LOADS_MAX:
            raise PlanInvalid(f"loads must be 1 to {LOADS_MAX} numbers, got {len(self.loads)}")
        for load in self.loads:
            _within("a load", load, 0.01, LOAD_MAX)
        if list(self.loads) != sorted(set(self.loads)):
            raise PlanInvalid(f"loads must rise, got {_listed(self.loads)}")
        if self.scenario == "single_stream" and self.loads != (1,):
            raise PlanInvalid(f"single_stream has the one load 1, got {_listed(self.loads)}")
        if self.scenario != "server" and any(load % 1 for load in self.loads):
            raise PlanInvalid(f"loads of {self.scenario} are whole, got {_listed(self.loads)}")
        _within("samples_min", self.samples_min, 1, SAMPLES_MAX)
        _within("seconds_max", self.seconds_max, 0.1, SECONDS_MAX)
        _within("seconds_min", self.seconds_min, 0.05, self.seconds_max)
        _within("warm_up", self.warm_up, 1, WARM_UP_MAX)
        _within("slo_ms", self.slo_ms, 0.1, SLO_MS_MAX)
        _within("ttft_slo_ms", self.ttft_slo_ms, 0, SLO_MS_MAX)
        _within("tpot_slo_ms", self.tpot_slo_ms, 0, SLO_MS_MAX)
        _within("percentile", self.percentile, 0.5, 0.999)
        _within("prompt_tokens", self.prompt_tokens, 1, PROMPT_TOKENS_MAX)
        _within("completion_tokens", self.completion_tokens, 1, COMPLETION_TOKENS_MAX)
        _within("rows", self.rows, 1, ROWS_MAX)
        _within("seed", self.seed, 0, SEED_MAX)

    def samples_at(self, load: float) -> float:
        """How many samples a point has at least."""
        turns = OFFLINE_TURNS_MIN if self.scenario == "offline" else 0
        return max(self.samples_min, turns * load)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can carry it; :func:`plan_of` reads it back."""
        return {**asdict(self), "loads": list(self.loads)}


# The limits of latency are MLPerf Inference's for chat (Llama 2 70B, server scenario: first token
# 2 s, then 200 ms each); for the others what a caller at a screen does not notice.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "chat": {
        "loads": (1, 2, 4, 8),
        "samples_min": 64,
        "percentile": 0.9,
        "slo_ms": 15_000.0,
        "ttft_slo_ms": 2_000.0,
        "tpot_slo_ms": 200.0,
        "warm_up": 4,
    },
    "embeddings": {"loads": (1, 2, 4, 8, 16), "samples_min": 200, "slo_ms": 200.0, "rows": 1},
    "rerank": {"loads": (1, 2, 4, 8), "samples_min": 200, "slo_ms": 500.0, "rows": 10},
    "moderation": {"loads": (1, 2, 4, 8, 16), "samples_min": 200, "slo_ms": 200.0},
    "image": {"loads": (1, 2, 4), "samples_min": 16, "slo_ms": 30_000.0, "warm_up": 2},
    "speech": {"loads": (1, 2, 4, 8), "slo_ms": 5_000.0},
    "transcription": {"loads": (1, 2, 4), "samples_min": 32, "slo_ms": 10_000.0, "rows": 10},
    "tabular": {"loads": (1, 2, 4, 8, 16, 32), "samples_min": 200, "slo_ms": 100.0},
    "vision": {"loads": (1, 2, 4, 8), "slo_ms": 500.0},
}


def plan_of(task: str, settings: Mapping[str, Any]) -> Plan:
    """A plan from settings over the defaults of the task. Raises :class:`PlanInvalid`."""
    _one_of("task", task, TASKS)
    known = {field.name: field.type for field in fields(Plan)}
    if strangers := sorted(set(settings) - set(known)):
        raise PlanInvalid(f"no setting is called {strangers[0]!r}; known: {', '.join(known)}")
    chosen: dict[str, Any] = {**DEFAULTS[task], **settings, "task": task}
    if chosen.get("scenario") == "single_stream" and "loads" not in settings:
        chosen["loads"] = (1,)
    for name, value in chosen.items():
        chosen[name] = _typed(name, value, str(known[name]))
    return Plan(**chosen)


def over_workers(plan: Plan, workers: int) -> Plan:
    """The plan with its loads for each of so many workers that are called in turn.

    One request alone stays: a slot can be kept free for it. Rates are not multiplied.
    """
    if plan.scenario not in {"multi_stream", "offline"}:
        return plan
    loads = {1.0, *(min(load * workers, LOAD_MAX) for load in plan.loads)}
    return replace(plan, loads=tuple(sorted(loads)))


def _typed(name: str, value: Any, wanted: str) -> Any:
    if wanted == "str":
        if not isinstance(value, str):
            raise PlanInvalid(f"{name} must be a word, got {value!r}")
        return value
    if wanted.startswith("tuple"):
        if not isinstance(value, list | tuple):
            raise PlanInvalid(f"{name} must be a list of numbers, got {value!r}")
        return tuple(_number(name, item) for item in value)
    number = _number(name, value)
    if wanted == "int":
        if number % 1:
            raise PlanInvalid(f"{name} must be whole, got {value!r}")
        return int(number)
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PlanInvalid(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise PlanInvalid(f"{name} is too large a number") from None


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PlanInvalid(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise PlanInvalid(f"{name} must be from {least:g} to {most:g}, got {value:g}")


def _listed(loads: tuple[float, ...]) -> str:
    return ", ".join(f"{load:g}" for load in loads)
