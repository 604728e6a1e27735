"""Options out of the database: what pools' profiles say, and what published figures add."""

from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from marketplace.benchmarks.models import Origin, Profile
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import AIModel, DeploymentStatus, Task
from marketplace.planning.advisor.fleets.engines import as_engine
from marketplace.planning.advisor.fleets.option import Evidence, Option, chips_of, kind_of
from marketplace.planning.advisor.options.published import benchmarks, published_options
from marketplace.planning.advisor.options.roofline import (
    REFERENCE_TOKENS,
    EmulatedOption,
    emulated_options,
)
from marketplace.planning.advisor.question import Question
from router.domain.protocols import protocols_of

STALE_AFTER = timedelta(days=30)
PROMPT_TOKEN_SHARE = 0.01
"""A prompt token's work over a completion token's; the emulator's rooflines say 0.006 to 0.02."""


def task_of(name: str) -> str | None:
    """The model's task; None where neither the catalog nor the published results know it."""
    model = AIModel.objects.filter(name=name).first()
    if model is not None:
        return model.task
    if name not in benchmarks():
        return None
    return Task.CHAT if any(word in name for word in ("llama", "mixtral", "gptj")) else Task.VISION


def names() -> list[str]:
    """What can be asked about, the catalog's models first."""
    models = AIModel.objects.filter(published=True).values_list("name", flat=True)
    return [*models, *benchmarks()]


def regions() -> list[str]:
    """Where there are pools."""
    live = profiles_in_force().filter(deployment__status=DeploymentStatus.LIVE)
    rows = live.values_list("deployment__pool__region", flat=True)
    return sorted(set(rows.order_by("deployment_id")))


def options_of(question: Question) -> list[Option]:
    """Everything that could serve the question's model, priced or not; names are unique."""
    found = [*_profiled(question), *_variants(question), *published_options(question)]
    return list({option.name: option for option in reversed(found)}.values())[::-1]


def _profiled(question: Question) -> list[Option]:
    rows = profiles_in_force().filter(
        deployment__version__model__name=question.model,
        deployment__status=DeploymentStatus.LIVE,
    )
    return [
        _option(question, profile)
        for profile in rows.select_related(
            "deployment__pool", "deployment__version__model", "benchmark"
        )
    ]


def _option(question: Question, profile: Profile) -> Option:
    pool = profile.deployment.pool
    task = profile.deployment.version.model.task
    known = _roofline(question.model, pool.name)
    curve = tuple((int(at), float(factor)) for at, factor in profile.batch_curve)
    if known is not None:
        alone, known_curve = known.of(question)
        # A given profile is about the typical call; of live traffic that is assumed.
        scale = alone / _profiled_ms(known, profile)
        fits = profile.benchmark is not None or profile.origin == Origin.GIVEN
        curve = curve or known_curve
    else:
        scale, fits = _scale(question, profile, task)
    workers = pool.workers.filter(_speaks(task))
    slots_there = max((worker.slots for worker in workers), default=0)
    option = Option(
        name=pool.name,
        hardware=pool.hardware,
        kind=kind_of(pool.hardware),
        chips=chips_of(pool.hardware),
        region=pool.region,
        service_ms=profile.service_ms * scale,
        slots=profile.slots or slots_there or 1,
        batch_curve=curve,
        evidence=_evidence(profile),
        cost_nano=pool.cost_nano_per_hour,
        samples=profile.samples,
        source=profile.source,
        measured_at=profile.created_at,
        stale=timezone.now() - profile.created_at > STALE_AFTER,
        deployment_id=profile.deployment_id,
        in_service=sum(worker.healthy and not worker.draining for worker in workers),
        mix_fits=fits,
    )
    if (figures := profile.engine_figures) is None:
        return option
    return as_engine(option, figures, slots_there or figures.at_once, question)


def _profiled_ms(known: EmulatedOption, profile: Profile) -> float:
    """What the roofline says of the call that a profile is about, or is assumed to be."""
    settings = profile.benchmark.settings if profile.benchmark else {}
    prompt = float(settings.get("prompt_tokens", REFERENCE_TOKENS))
    completion = float(settings.get("completion_tokens", REFERENCE_TOKENS))
    return known.service_ms(prompt, completion, float(settings.get("rows", 1)), 1)


def _speaks(task: str) -> Q:
    """The workers of a pool that can serve a task."""
    return Q(protocol__in=protocols_of(task))


def _evidence(profile: Profile) -> Evidence:
    if profile.emulated or profile.deployment.pool.emulated:
        return Evidence.EMULATED
    return Evidence.GIVEN if profile.origin == Origin.GIVEN else Evidence.MEASURED


def _scale(question: Question, profile: Profile, task: str) -> tuple[float, bool]:
    """The asked mix's work over that of the profile's own, and whether that one is known.

    The sizes behind live traffic and behind a provider's figures are not recorded. They are taken
    to be the asked ones, or the typical call's where the model chats.
    """
    settings = profile.benchmark.settings if profile.benchmark else {}
    if task == Task.CHAT:
        prompt = float(settings.get("prompt_tokens", REFERENCE_TOKENS))
        completion = float(settings.get("completion_tokens", REFERENCE_TOKENS))
        asked = question.completion_tokens + PROMPT_TOKEN_SHARE * question.prompt_tokens
        return asked / (completion + PROMPT_TOKEN_SHARE * prompt), bool(settings)
    if task in (Task.EMBEDDINGS, Task.RERANK, Task.MODERATION):
        tokens = float(settings.get("prompt_tokens", 0)) * float(settings.get("rows", 1))
        return (question.prompt_tokens * question.rows / tokens, True) if tokens else (1.0, False)
    rows = float(settings.get("rows", 1))
    return question.rows / rows, bool(settings)


def _variants(question: Question) -> Sequence[Option]:
    """EmulatedOption pools' hardware with other numbers of chips, at the pool's price a chip."""
    pools = {
        profile.deployment.pool.name: profile.deployment.pool
        for profile in profiles_in_force()
        .filter(deployment__version__model__name=question.model, deployment__pool__emulated=True)
        .select_related("deployment__pool")
    }
    options: list[Option] = []
    for variant in emulated_options():
        pool = pools.get(variant.pool)
        if pool is None or variant.model != question.model or variant.chips == variant.pool_chips:
            continue
        service_ms, curve = variant.of(question)
        hardware = f"{variant.chips} × {variant.hardware} (emulated)"
        option = Option(
            name=f"{variant.pool} ×{variant.chips}",
            hardware=hardware,
            kind=kind_of(variant.hardware),
            chips=variant.chips,
            region=pool.region,
            service_ms=service_ms,
            slots=variant.slots,
            batch_curve=curve,
            evidence=Evidence.EMULATED,
            cost_nano=pool.cost_nano_per_hour * variant.chips // variant.pool_chips,
            source="emulator: roofline over published peaks, another number of chips",
            has_room=variant.has_room,
        )
        figures = variant.engine
        options.append(as_engine(option, figures, figures.at_once, question) if figures else option)
    return options


def _roofline(model: str, pool: str) -> EmulatedOption | None:
    """The emulator's figures of a pool as it is."""
    of_pool = (o for o in emulated_options() if (o.model, o.pool) == (model, pool))
    return next((option for option in of_pool if option.chips == option.pool_chips), None)
