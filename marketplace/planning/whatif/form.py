"""A question as people fill it in. A field that is left empty changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import QueryDict

from marketplace.benchmarks.recorded_calls.fleet import workers_of
from marketplace.catalog.models import AIModel, Deployment
from marketplace.planning.whatif.selectors import Stretch

POLICY_FIELDS = ("kind", "wait_weight", "usd_weight_s", "hedge_share")
POOL_FIELDS = ("workers", "slots", "speed")
LAYOUT = "%Y-%m-%dT%H:%M"
ZONE_MISSING = {len("2026-11-24T15:00"): ":00Z", len("2026-11-24T15:00:00"): "Z"}


@dataclass(frozen=True, slots=True)
class PoolFields:
    """A pool of the fleet, with what is typed for it."""

    name: str
    hardware: str
    emulated: bool
    workers: int
    slots: int
    typed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PriceField:
    """A deployment's price factor and weight, with what is typed."""

    deployment: Deployment
    price: str
    weight: str


@dataclass(frozen=True, slots=True)
class Form:
    """What the form shows."""

    since: str
    until: str
    typed: Mapping[str, str]
    pools: tuple[PoolFields, ...]
    prices: tuple[PriceField, ...]
    is_changed: bool


def asked_of(posted: QueryDict) -> dict[str, Any]:
    """The JSON of a question, out of the form's fields."""
    asked: dict[str, Any] = {"model": posted.get("model", "")}
    for name in ("since", "until"):
        text = posted.get(name, "")
        # The form's times are UTC, say no zone, and seconds only where there are some.
        asked[name] = f"{text}{ZONE_MISSING.get(len(text), '')}"
    asked |= _given({name: posted.get(name, "") for name in ("scale", "slo_ms", "speeds")})
    asked["policy"] = _given({name: posted.get(name, "") for name in POLICY_FIELDS})
    pools: dict[str, dict[str, str]] = {}
    prices: dict[str, str] = {}
    weights: dict[str, str] = {}
    for key, value in posted.items():
        head, _, rest = key.partition(":")
        if not value or not isinstance(value, str):
            continue
        if head in POOL_FIELDS and rest:
            pools.setdefault(rest, {})[head] = value
        elif head == "price" and rest:
            prices[rest] = value
        elif head == "weight" and rest:
            weights[rest] = value
    if profile := posted.get("new_profile"):
        new = {"profile": str(profile), "slots": posted.get("new_slots", "")}
        new["workers"] = posted.get("new_workers") or "1"
        pools[posted.get("new_pool") or "new"] = _given(new)
    if weights:
        asked["policy"]["weights"] = weights
    return asked | {"pools": pools, "prices": prices}


def form_of(
    model: AIModel,
    deployments: Sequence[Deployment],
    stretch: Stretch,
    again: Mapping[str, Any] | None,
    posted: QueryDict,
) -> Form:
    """The form for a model's fleet, filled as it was posted, or as it was asked ``again``."""
    typed = {k: str(v) for k, v in posted.items()} if posted else _typed(again or {})
    pools: dict[str, PoolFields] = {}
    there = workers_of(model, deployments)
    for row in deployments:
        workers = there.get(row.pool_id, [])
        pools[row.pool.name] = PoolFields(
            row.pool.name,
            row.pool.hardware,
            row.pool.emulated,
            len(workers),
            max((worker.slots for worker in workers), default=0),
            {name: typed.get(f"{name}:{row.pool.name}", "") for name in POOL_FIELDS},
        )
    prices = tuple(
        PriceField(row, typed.get(f"price:{row.pk}", ""), typed.get(f"weight:{row.pk}", ""))
        for row in deployments
    )
    return Form(
        typed.get("since") or stretch.since.strftime(LAYOUT),
        typed.get("until") or stretch.until.strftime(LAYOUT),
        typed,
        tuple(pools.values()),
        prices,
        bool(posted or again),
    )


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _typed(question: Mapping[str, Any]) -> dict[str, str]:
    """A stored question as the form's fields."""
    typed: dict[str, Any] = {
        name: question[name] for name in ("scale", "slo_ms", "speeds") if name in question
    }
    for name in ("since", "until"):
        if name in question:
            typed[name] = datetime.fromisoformat(question[name]).strftime(LAYOUT)
    policy = dict(question.get("policy", {}))
    weights = policy.pop("weights", None) or {}
    typed |= policy
    typed |= {f"weight:{id_}": value for id_, value in weights.items()}
    typed |= {f"price:{id_}": value for id_, value in question.get("prices", {}).items()}
    for pool, change in question.get("pools", {}).items():
        if "profile" in change:
            typed |= {"new_pool": pool, "new_profile": change["profile"]}
            typed |= {f"new_{k}": change[k] for k in ("workers", "slots") if k in change}
        else:
            typed |= {f"{name}:{pool}": value for name, value in change.items()}
    return {name: str(value) for name, value in typed.items() if value is not None}
