"""The fleet that serves a model, as machines of the simulator."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import median

from django.conf import settings
from django.db.models import Q

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.profiles.engine_figures import EngineFigures
from marketplace.benchmarks.recorded_calls.sizes import (
    SAMPLES_MIN,
    CallSizes,
    Factor,
    RecordedCall,
    Speed,
    concurrency_of,
)
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    Worker,
)
from marketplace.catalog.prices import price_of
from marketplace.catalog.selectors import offer_in_force
from router.domain.pricing import Price, Usage, charge_nano
from router.domain.protocols import protocols_of
from router.simulator.slots.machine import Machine


class FleetUnknown(ValueError):
    """Nothing is known of any worker of the model."""


class Basis(StrEnum):
    """Where the service time of a deployment comes from."""

    PROFILE = "profile"
    """The profile in force."""
    MEASURED = "measured"
    """The times of its own calls, each divided by its work and by the batch curve."""


@dataclass(frozen=True, slots=True)
class Part:
    """One deployment of a fleet. ``cost_nano_per_hour`` is the cost of one of its ``workers``.
    ``engine`` is what is known of them where they are LLM engines.
    """

    deployment_id: int
    provider: str
    pool: str
    hardware: str
    emulated: bool
    workers: tuple[str, ...]
    slots: tuple[int, ...]
    service_ms: float
    batch_curve: tuple[tuple[int, float], ...]
    basis: Basis
    source: str
    samples: int
    price: Price
    price_nano: int
    cost_nano_per_hour: int
    engine: EngineFigures | None = None

    def machines(self) -> tuple[Machine, ...]:
        """The router knows the service time from its traffic, so it gets it at once."""
        return tuple(
            Machine(
                name=worker,
                kind=self.pool,
                service_ms=self.service_ms,
                slots=slots,
                prior_ms=self.service_ms,
                batch_curve=self.batch_curve,
                price_nano=self.price_nano,
                deployment_id=self.deployment_id,
            )
            for worker, slots in zip(self.workers, self.slots, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """The deployments that can be simulated, and the names of those that cannot."""

    parts: tuple[Part, ...]
    unknown: tuple[str, ...] = ()

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(machine for part in self.parts for machine in part.machines())

    @property
    def cost_nano_per_hour(self) -> int:
        return sum(part.cost_nano_per_hour * len(part.workers) for part in self.parts)

    @property
    def are_engines(self) -> bool:
        """Whether all parts are LLM engines with known figures."""
        return all(part.engine is not None for part in self.parts)

    @property
    def is_emulated(self) -> bool:
        return any(part.emulated for part in self.parts)


def fleet_read(
    model: AIModel,
    work: CallSizes,
    calls: Sequence[RecordedCall],
    *,
    first: Basis = Basis.PROFILE,
) -> Fleet:
    """The live deployments and healthy workers of a model, and those that answered ``calls``.

    ``first`` says which service time is taken where both are known. A worker that two deployments
    share is cut in two, by slots. Raises :class:`FleetUnknown`.
    """
    rows = _deployments(model, {call.deployment_id for call in calls})
    workers = workers_of(model, rows, {call.worker_id for call in calls})
    profiles = {profile.deployment_id: profile for profile in profiles_in_force()}
    mix = mix_of(profiles, work.speeds)
    usage = usage_mean(calls)
    parts: list[Part] = []
    unknown: list[str] = []
    for row in rows:
        profile = profiles.get(row.pk)
        service = _service(profile, _known(work.speeds.get(row.pk)), mix, first)
        there = workers.get(row.pool_id, [])
        if service is None:
            unknown.append(str(row))
        elif there:
            sharers = sum(other.pool_id == row.pool_id for other in rows)
            engine = _engine(profile, row.pk, calls, first)
            parts.append(_part(row, there, sharers, service, profile, usage, engine))
    if not parts:
        raise FleetUnknown(
            f"no worker of {model.name} can be simulated: a deployment needs a worker, and a"
            f" published profile or {SAMPLES_MIN} recorded calls"
        )
    return Fleet(tuple(parts), tuple(unknown))


def workers_of(
    model: AIModel, rows: Sequence[Deployment], used: Collection[str] = ()
) -> dict[int, list[Worker]]:
    """By pool: the workers that can take the model's calls now, and the ``used`` ones."""
    able = Q(draining=False, healthy=True, protocol__in=protocols_of(model.task))
    found: dict[int, list[Worker]] = defaultdict(list)
    there = Worker.objects.filter(
        able | Q(worker_id__in=used), pool__in={row.pool_id for row in rows}
    )
    for worker in there.order_by("worker_id"):
        found[worker.pool_id].append(worker)
    return found


def factor_of(model: AIModel) -> Factor:
    """The batch curves of a model's profiles in force, by deployment and concurrency."""
    profiles = profiles_in_force().filter(deployment__version__model=model)
    curves = {p.deployment_id: Machine("", "", 1.0, 1, batch_curve=curve_of(p)) for p in profiles}

    @cache
    def factor(deployment_id: int, concurrency: int) -> float:
        curve = curves.get(deployment_id)
        return curve.factor(concurrency) if curve else 1.0

    return factor


def curve_of(profile: Profile) -> tuple[tuple[int, float], ...]:
    """A profile's batch curve as the simulator takes it."""
    return tuple((int(count), float(factor)) for count, factor in profile.batch_curve)


def usage_mean(calls: Sequence[RecordedCall]) -> Usage:
    """What the mean of these calls consumed, in whole numbers; one row where there are none."""
    billed = [call.usage for call in calls if call.charge_nano or call.is_measured]
    if not billed:
        return Usage(rows=1)
    return Usage(
        **{
            name: round(sum(getattr(usage, name) for usage in billed) / len(billed))
            for name in Usage.__struct_fields__
        }
    )


def mix_of(profiles: Mapping[int, Profile], speeds: Mapping[int, Speed]) -> float:
    """How many times the work of a benchmark's call a recorded call is.

    The median over the deployments for which both are known, so that a single one that has drifted
    changes nothing; 1 where there is none.
    """
    ratios = [
        speeds[id_].service_ms / profile.service_ms
        for id_, profile in profiles.items()
        if _known(speeds.get(id_))
    ]
    return median(ratios) if ratios else 1.0


@dataclass(frozen=True, slots=True)
class _Service:
    ms: float
    basis: Basis
    source: str
    samples: int


def _known(speed: Speed | None) -> Speed | None:
    return speed if speed is not None and speed.samples >= SAMPLES_MIN else None


def _service(
    profile: Profile | None, speed: Speed | None, mix: float, first: Basis
) -> _Service | None:
    if speed is not None and (first is Basis.MEASURED or profile is None):
        return _Service(speed.service_ms, Basis.MEASURED, "", speed.samples)
    if profile is None:
        return None
    # Measured service times are of recorded calls: the profile's is scaled to those.
    scale = mix if first is Basis.MEASURED else 1.0
    return _Service(profile.service_ms * scale, Basis.PROFILE, profile.source, profile.samples)


def _part(
    row: Deployment,
    workers: Sequence[Worker],
    sharers: int,
    service: _Service,
    profile: Profile | None,
    usage: Usage,
    engine: EngineFigures | None,
) -> Part:
    offer = offer_in_force(row)
    price = price_of(offer) if offer else Price(0)
    return Part(
        deployment_id=row.pk,
        provider=row.provider.slug,
        pool=row.pool.name,
        hardware=row.pool.hardware,
        emulated=row.pool.emulated,
        workers=tuple(
            worker.worker_id if sharers == 1 else f"{worker.worker_id}.{row.pk}"
            for worker in workers
        ),
        slots=tuple(max(worker.slots // sharers, 1) for worker in workers),
        service_ms=service.ms,
        batch_curve=curve_of(profile) if profile else (),
        basis=service.basis,
        source=service.source,
        samples=service.samples,
        price=price,
        price_nano=charge_nano(price, usage),
        cost_nano_per_hour=row.pool.cost_nano_per_hour,
        engine=engine,
    )


def _engine(
    profile: Profile | None, deployment_id: int, calls: Sequence[RecordedCall], first: Basis
) -> EngineFigures | None:
    """As in the profile; made as slow as measured, if there are enough calls."""
    figures = profile.engine_figures if profile else None
    if figures is None or first is Basis.PROFILE:
        return figures
    ratios = [
        call.upstream_s / expected_s(figures, call.usage, together)
        for call, together in zip(calls, concurrency_of(calls), strict=True)
        if call.deployment_id == deployment_id and call.is_measured
    ]
    return figures.slower(median(ratios)) if len(ratios) >= SAMPLES_MIN else figures


def expected_s(figures: EngineFigures, usage: Usage, together: int) -> float:
    """How long a call takes on an engine where ``together`` calls run as it begins, with itself."""
    tokens = max(usage.completion_tokens + usage.reasoning_tokens, 1)
    context = usage.prompt_tokens + usage.cached_tokens + tokens / 2
    return figures.call_s(usage.prompt_tokens, tokens, together, context)


def _deployments(model: AIModel, used: Collection[int]) -> list[Deployment]:
    rows = Deployment.objects.filter(
        Q(status=DeploymentStatus.LIVE) | Q(pk__in=used), version__model=model
    )
    if not settings.WAYPOST_EMULATED:
        rows = rows.filter(pool__emulated=False)
    return list(rows.select_related("version__model", "provider", "pool").order_by("pk"))
