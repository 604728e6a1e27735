"""A question: which recorded stretch, and what would be different. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from django.utils.translation import gettext as _
from msgspec import Meta, Struct

from marketplace.benchmarks.recorded_calls.fleet import Basis, Fleet, Part
from marketplace.planning.asking import QuestionInvalid, question_read
from marketplace.routing.models import WEIGHT_MAX, WEIGHT_MIN, PolicyKind
from router.domain.catalog import Policy
from router.domain.pricing import Price

YEAR_MIN, YEAR_MAX = 2000, 2100
WINDOW_MAX = timedelta(days=7)
SCALE_MIN, SCALE_MAX = 0.1, 10.0
WORKERS_MAX = 64
"""Most workers of a pool that are added or taken away."""

SLOTS_MAX = 1_024
SLO_MS_MAX = 3_600_000.0
SPEED_MIN, SPEED_MAX = 0.05, 20.0
PRICE_FACTOR_MAX = 100.0
CHANGES_MAX = 50

Id = Annotated[str, Meta(pattern="^[1-9][0-9]{0,17}$")]
Name = Annotated[str, Meta(min_length=1, max_length=60)]


class PolicyChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What of the policy in force is different; None leaves a field as it is."""

    kind: PolicyKind | None = None
    wait_weight: Annotated[float, Meta(ge=0.1, le=100)] | None = None
    usd_weight_s: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    hedge_share: Annotated[float, Meta(ge=0, le=0.2)] | None = None
    weights: dict[Id, Annotated[float, Meta(ge=WEIGHT_MIN, le=WEIGHT_MAX)]] | None = None


class PoolChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``workers`` more or fewer, each with ``slots``, ``speed`` times as fast.

    ``profile`` names the profile of a pool that is not there.
    """

    workers: Annotated[int, Meta(ge=-WORKERS_MAX, le=WORKERS_MAX)] = 0
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)] | None = None
    speed: Annotated[float, Meta(ge=SPEED_MIN, le=SPEED_MAX)] = 1.0
    profile: Annotated[int, Meta(ge=1)] | None = None


class Question(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What if. ``prices`` are factors by deployment id, ``scale`` is a factor of the arrival rate.

    ``slo_ms`` 0 stands for the profile's, or for what follows from the recorded median
    (:mod:`.replay.scene`). ``speeds`` says whether a deployment is as fast as it was in the
    stretch, or as its profile says.
    """

    model: Annotated[str, Meta(min_length=3, max_length=120)]
    since: Annotated[datetime, Meta(tz=True)]
    until: Annotated[datetime, Meta(tz=True)]
    policy: PolicyChange = PolicyChange()
    pools: Annotated[dict[Name, PoolChange], Meta(max_length=CHANGES_MAX)] = {}
    prices: Annotated[
        dict[Id, Annotated[float, Meta(ge=0, le=PRICE_FACTOR_MAX)]], Meta(max_length=CHANGES_MAX)
    ] = {}
    scale: Annotated[float, Meta(ge=SCALE_MIN, le=SCALE_MAX)] = 1.0
    slo_ms: Annotated[float, Meta(ge=0, le=SLO_MS_MAX)] = 0.0
    speeds: Basis = Basis.MEASURED

    def __post_init__(self) -> None:
        named = {"since": self.since, "until": self.until}
        if self.since >= self.until:
            text = _("until must be after since, got %(since)s to %(until)s")
            raise QuestionInvalid("until", text % named)
        if self.until - self.since > WINDOW_MAX:
            text = _("at most %(days)s days can be replayed at once")
            raise QuestionInvalid("until", text % {"days": WINDOW_MAX.days})
        if self.since.year < YEAR_MIN or self.until.year > YEAR_MAX:
            text = _("calls are recorded from %(least)s to %(most)s, got %(since)s to %(until)s")
            raise QuestionInvalid("since", text % {"least": YEAR_MIN, "most": YEAR_MAX, **named})


def question_of(asked: Mapping[str, Any]) -> Question:
    """A question out of JSON's values or a form's text. Raises :class:`QuestionInvalid`."""
    return question_read(Question, asked, strict=False)


def changed_policy(policy: Policy, change: PolicyChange) -> Policy:
    """The policy with what the question says instead."""
    values = {
        name: value
        for name in PolicyChange.__struct_fields__
        if (value := getattr(change, name)) is not None
    }
    if change.weights is not None:
        values["weights"] = {int(id_): weight for id_, weight in change.weights.items()}
    if change.kind is not None:
        values["kind"] = change.kind.value
    return msgspec.structs.replace(policy, **values)


def deployments_check(question: Question, known: Collection[str]) -> None:
    """Raises ``ValueError`` for a price or a weight of a deployment that the model has not.

    One that is not simulated, as its speed is not known, may have them: they change nothing.
    """
    for id_ in [*question.prices, *(question.policy.weights or ())]:
        if id_ not in known:
            there = ", ".join(sorted(known, key=int))
            raise ValueError(f"no deployment {id_}; there are {there}")


def changed_fleet(fleet: Fleet, question: Question, added: Iterable[Part] = ()) -> Fleet:
    """The fleet with other workers, slots, speeds and prices; ``added`` are pools not there.

    Raises ``ValueError`` for a pool that the fleet lacks, and for no workers left.
    """
    new = list(added)
    known = {part.pool for part in fleet.parts} | {part.pool for part in new}
    for pool in question.pools:
        if pool not in known:
            raise ValueError(f"no pool {pool!r}; there are {', '.join(sorted(known))}")
    parts = [_changed(part, question.pools.get(part.pool, PoolChange())) for part in fleet.parts]
    parts = [_priced(part, question.prices) for part in [*parts, *new] if part.workers]
    if not parts:
        raise ValueError("no worker would be left")
    return Fleet(tuple(parts), fleet.unknown)


def _changed(part: Part, change: PoolChange) -> Part:
    if not part.workers:
        return part
    count = max(len(part.workers) + change.workers, 0)
    more = count - len(part.workers)
    workers = (*part.workers[:count], *(f"{part.workers[0]}.new{n}" for n in range(more)))
    slots = (*part.slots[:count], *(part.slots[0] for _ in range(more)))
    if change.slots:
        slots = (change.slots,) * count
    return replace(
        part,
        workers=workers,
        slots=slots,
        service_ms=part.service_ms / change.speed,
        engine=part.engine.slower(1 / change.speed) if part.engine else None,
    )


def _priced(part: Part, factors: Mapping[str, float]) -> Part:
    factor = factors.get(str(part.deployment_id), 1.0)
    if factor == 1.0:
        return part
    values = {
        name: round(getattr(part.price, name) * factor)
        for name in Price.__struct_fields__
        if "nano" in name
    }
    return replace(
        part,
        price=msgspec.structs.replace(part.price, **values),
        price_nano=round(part.price_nano * factor),
    )
