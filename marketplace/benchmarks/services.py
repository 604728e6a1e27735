"""Verbs of benchmarks and profiles."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.benchmarks.loadgen.plan import PlanInvalid, over_workers, plan_of
from marketplace.benchmarks.models import (
    Benchmark,
    Profile,
    Scenario,
    Target,
    Trigger,
)
from marketplace.benchmarks.selectors import deployment_of, workers_of
from marketplace.catalog.models import AIModel, Deployment, Worker
from marketplace.routing.services import snapshot_publish
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_ask

PROFILE_TTL = timedelta(days=7)
"""A prior older than this is worse than none: see the study in docs/explanation/scheduling.md."""
QUEUED_MAX = 200
QUEUED_OF_ONE_MAX = 10
"""Most that wait for one deployment, or for one model's route: no provider fills the queue."""
REASON_CHARACTERS = 300


@transaction.atomic
def benchmark_request(
    *,
    model: AIModel,
    target: Target | str,
    scenario: Scenario | str = Scenario.OFFLINE,
    deployment: Deployment | None = None,
    worker: Worker | None = None,
    trigger: Trigger | str = Trigger.PERSON,
    reason: str = "",
    asked_by: User | None = None,
    settings: dict[str, Any] | None = None,
) -> Benchmark:
    """Queue a benchmark; a job runs it when the pool is free.

    ``settings`` are fields of :class:`.loadgen.plan.Plan` over the task's defaults. Without loads
    among them a deployment gets the task's for each of its workers.
    A worker's deployment is found when it is not given. Raises ``ValidationError``.
    """
    if target not in Target.values:
        raise ValidationError(
            {"target": _("A benchmark measures a worker, a deployment or a route.")}
        )
    try:
        plan = plan_of(model.task, {**(settings or {}), "scenario": str(scenario)})
    except PlanInvalid as error:
        raise ValidationError({"settings": str(error)}) from error
    deployment, worker = _measured(model, target, deployment, worker)
    workers = workers_of(model, deployment=deployment, worker=worker)
    if not workers:
        raise ValidationError({"worker": _("There is no ready worker to measure there.")})
    if target == Target.DEPLOYMENT and "loads" not in (settings or {}):
        plan = over_workers(plan, len(workers))
    _room_for_one_more(model, deployment)
    benchmark = Benchmark(
        model=model,
        target=target,
        deployment=deployment,
        worker=worker,
        scenario=plan.scenario,
        settings=plan.as_dict(),
        trigger=trigger,
        reason=reason[:REASON_CHARACTERS],
        asked_by=asked_by,
        emulated=model.emulated,
    )
    job_ask(benchmark)
    return benchmark


def _measured(
    model: AIModel, target: Target | str, deployment: Deployment | None, worker: Worker | None
) -> tuple[Deployment | None, Worker | None]:
    """What of the two a benchmark of this target is about. Raises ``ValidationError``."""
    if target == Target.ROUTE:
        return None, None
    if target == Target.WORKER:
        if worker is None:
            raise ValidationError({"worker": _("Choose the worker to measure.")})
        deployment = deployment or deployment_of(model, worker)
    if deployment is None or deployment.version.model_id != model.pk:
        raise ValidationError({"deployment": _("Choose a deployment of this model.")})
    if target == Target.DEPLOYMENT:
        return deployment, None
    if worker and worker.pool_id != deployment.pool_id:
        # The pool, the right to measure and the profile are the deployment's.
        raise ValidationError({"worker": _("Choose a worker of its deployment's pool.")})
    return deployment, worker


def _room_for_one_more(model: AIModel, deployment: Deployment | None) -> None:
    queued = Benchmark.objects.filter(state=JobState.QUEUED)
    of_this = queued.filter(model=model, deployment=deployment)
    if queued.count() >= QUEUED_MAX or of_this.count() >= QUEUED_OF_ONE_MAX:
        raise ValidationError(_("Too many benchmarks are queued: cancel some first."))


@transaction.atomic
def benchmark_repeat(*, benchmark: Benchmark, asked_by: User | None) -> Benchmark:
    """Ask for the same again."""
    settings = {k: v for k, v in benchmark.settings.items() if k not in {"task", "scenario"}}
    return benchmark_request(
        model=benchmark.model,
        target=benchmark.target,
        scenario=benchmark.scenario,
        deployment=benchmark.deployment,
        worker=benchmark.worker,
        reason=f"repeats #{benchmark.pk}",
        asked_by=asked_by,
        settings=settings,
    )


@transaction.atomic
def profile_publish(profile: Profile) -> Profile:
    """Put a profile in force as its deployment's prior, for :data:`PROFILE_TTL` from now."""
    profile.published = True
    profile.expires_at = timezone.now() + PROFILE_TTL
    profile.save(update_fields=["published", "expires_at"])
    snapshot_publish()
    return profile
