"""What a question is about, read from the recorded calls and the catalog."""

from dataclasses import dataclass

from django.db.models import Sum

from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.recorded_calls.fleet import (
    Basis,
    Fleet,
    Part,
    curve_of,
    fleet_read,
    mix_of,
    usage_mean,
)
from marketplace.benchmarks.recorded_calls.replay import Recording, recording_read
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import AIModel, Deployment
from marketplace.catalog.prices import price_of
from marketplace.catalog.selectors import offer_in_force
from marketplace.planning.whatif.question import (
    PoolChange,
    Question,
    changed_fleet,
    changed_policy,
    deployments_check,
)
from marketplace.planning.whatif.replay.notes import Note
from marketplace.planning.whatif.replay.runs import recorded, side_of
from marketplace.routing.selectors import policies_in_force, policy_value
from marketplace.usage.models import UsageEvent
from marketplace.usage.partitions import id_floor
from router.domain.catalog import Policy
from router.domain.outcome import Outcome
from router.domain.pricing import Price, charge_nano

ARRIVALS_MAX = 20_000
CALLS_MIN = 20
"""A question about fewer calls is not answered."""

CALLS_SURE = 200
"""An answer about fewer calls is not to be trusted."""

OTHERS_SHARE_MAX = 0.05
"""Above this share of the workers' time that went to other models, a note says so."""

SLO_MEDIANS = 3.0
"""Without a profile that names an objective, it is so many times the recorded median."""


class Unanswerable(ValueError):
    """The question cannot be answered; says why."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is read for a question. ``seconds`` is the length of the stretch, less what was cut."""

    recording: Recording
    fleet_now: Fleet
    fleet_then: Fleet
    policy_now: Policy
    policy_then: Policy
    slo_ms: float
    slo_from: str
    notes: tuple[Note, ...]
    seconds: float


def scene_read(question: Question) -> Scene:
    """What the question is about. Raises :class:`Unanswerable`."""
    model = AIModel.objects.filter(name=question.model).first()
    if model is None:
        raise Unanswerable(f"no model {question.model!r}")
    recording = recording_read(
        model=model, since=question.since, until=question.until, limit=ARRIVALS_MAX
    )
    if recording.total < CALLS_MIN:
        raise Unanswerable(
            f"{recording.total} calls of {model.name} were recorded from"
            f" {question.since:%Y-%m-%d %H:%M} to {question.until:%Y-%m-%d %H:%M} UTC;"
            f" it takes {CALLS_MIN}"
        )
    try:
        deployments_check(question, _deployment_ids(model))
        fleet = fleet_read(model, recording.work, recording.calls, first=question.speeds)
        fleet_then = changed_fleet(fleet, question, _added(model, fleet, question, recording))
    except ValueError as error:
        raise Unanswerable(str(error)) from None
    row = policies_in_force().filter(model=model).first()
    policy = policy_value(row) if row else Policy(0, 0, model.name)
    slo_ms, slo_from = _slo(question, fleet, recording)
    return Scene(
        recording,
        fleet,
        fleet_then,
        policy,
        changed_policy(policy, question.policy),
        slo_ms,
        slo_from,
        (*_notes(question, model, recording, fleet, policy), *_engine_notes(fleet, fleet_then)),
        (question.until - question.since).total_seconds() - recording.dropped_s,
    )


def _deployment_ids(model: AIModel) -> set[str]:
    rows = Deployment.objects.filter(version__model=model)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _slo(question: Question, fleet: Fleet, recording: Recording) -> tuple[float, str]:
    if question.slo_ms:
        return question.slo_ms, "question"
    ids = {part.deployment_id for part in fleet.parts}
    profiles = [profile for profile in profiles_in_force() if profile.deployment_id in ids]
    if named := [profile.slo_ms for profile in profiles if profile.slo_ms]:
        return max(named), "profile"
    median = side_of(recorded(recording.calls, recording.arrivals), 0.0).p50_ms
    return max(SLO_MEDIANS * median, 1.0), "median"


def _added(model: AIModel, fleet: Fleet, question: Question, recording: Recording) -> list[Part]:
    """Pools that are not there, out of profiles of the same model. Raises ``ValueError``."""
    there = {part.pool for part in fleet.parts}
    wanted = {name: change for name, change in question.pools.items() if change.profile}
    if clash := sorted(wanted.keys() & there):
        raise ValueError(f"pool {clash[0]!r} is there: change its workers, slots or speed instead")
    in_force = {profile.deployment_id: profile for profile in profiles_in_force()}
    measured = question.speeds is Basis.MEASURED
    mix = mix_of(in_force, recording.work.speeds) if measured else 1.0
    return [_new_part(model, name, change, mix, recording) for name, change in wanted.items()]


def _new_part(
    model: AIModel, name: str, change: PoolChange, mix: float, recording: Recording
) -> Part:
    profile = (
        Profile.objects.filter(pk=change.profile or 0, deployment__version__model=model)
        .select_related("deployment__pool", "deployment__provider")
        .first()
    )
    if profile is None:
        raise ValueError(f"no profile {change.profile} of {model.name}")
    deployment = profile.deployment
    worker = deployment.pool.workers.order_by("worker_id").first()
    slots = change.slots or profile.slots or (worker.slots if worker else 1)
    offer = offer_in_force(deployment)
    price = price_of(offer) if offer else Price(0)
    count = max(change.workers, 1)
    engine = profile.engine_figures
    return Part(
        deployment_id=deployment.pk,
        provider=deployment.provider.slug,
        pool=name,
        hardware=deployment.pool.hardware,
        emulated=profile.emulated,
        workers=tuple(f"{name}.new{n}" for n in range(count)),
        slots=(slots,) * count,
        service_ms=profile.service_ms * mix / change.speed,
        batch_curve=curve_of(profile),
        basis=Basis.PROFILE,
        source=profile.source,
        samples=profile.samples,
        price=price,
        price_nano=charge_nano(price, usage_mean(recording.calls)),
        cost_nano_per_hour=deployment.pool.cost_nano_per_hour,
        engine=engine.slower(1 / change.speed) if engine else None,
    )


def _notes(
    question: Question, model: AIModel, recording: Recording, fleet: Fleet, policy: Policy
) -> list[Note]:
    notes: list[Note] = []
    if recording.is_cut:
        notes.append(Note("cut", {"calls": len(recording.calls), "total": recording.total}))
    if len(recording.calls) < CALLS_SURE:
        notes.append(Note("few", {"calls": len(recording.calls), "needed": CALLS_SURE}))
    others = sum(call.policy_id not in (0, policy.id) for call in recording.calls)
    if others:
        notes.append(Note("other_policy", {"percent": round(100 * others / len(recording.calls))}))
    share = _others_share(question, model, fleet)
    if share > OTHERS_SHARE_MAX:
        notes.append(Note("other_models", {"percent": round(100 * share)}))
    notes += [Note("unknown", {"deployment": name}) for name in fleet.unknown]
    for part in fleet.parts:
        if part.basis is not question.speeds:
            code = "profile_missing" if question.speeds is Basis.PROFILE else "not_measured"
            notes.append(Note(code, {"pool": part.pool}))
    if not any(recording.work.predicted):
        notes.append(Note("size_blind"))
    return notes


def _engine_notes(now: Fleet, then: Fleet) -> list[Note]:
    """How the fleet's engines are simulated, where it has any."""
    parts = {part.pool: part for part in (*now.parts, *then.parts)}.values()
    if not any(part.engine for part in parts):
        return []
    if slots := [part.pool for part in parts if part.engine is None]:
        return [Note("engines_as_slots", {"pool": slots[0]})]
    unknown = [part.pool for part in parts if part.engine and not part.engine.kv_tokens]
    return [Note("engines"), *(Note("cache_unknown", {"pool": pool}) for pool in unknown)]


def _others_share(question: Question, model: AIModel, fleet: Fleet) -> float:
    """The share of these pools' time that went to calls of other models."""
    calls = UsageEvent.objects.filter(
        request_id__gte=id_floor(question.since),
        request_id__lt=id_floor(question.until),
        pool__in=[part.pool for part in fleet.parts],
    ).exclude(outcome=Outcome.REFUSED)
    total = calls.aggregate(ms=Sum("upstream_ms"))["ms"] or 0.0
    own = calls.filter(model=model.name).aggregate(ms=Sum("upstream_ms"))["ms"] or 0.0
    return (total - own) / total if total else 0.0
