"""Rehearsals at chosen hours: each busy model's own peak, and twice that, through the router."""

import logging
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db.models import Sum
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Scenario, Target, Trigger
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.shared.jobs.models import STATES_OPEN
from marketplace.usage.models import DeploymentRollup, Span

LOOKS_BACK = timedelta(days=7)
MODELS_MAX = 3
OF_PEAK = (0.5, 1.0, 2.0)
RATE_HZ_MIN = 0.1
"""Of a rarer model a rehearsal would wait for its calls and tell nothing."""
HOUR_S = 3_600.0

log = logging.getLogger(__name__)


def rehearsals_request() -> list[Benchmark]:
    """Queue a rehearsal of the models that were called most in an hour of the last week."""
    found = []
    for model, peak_hz in _peaks():
        if Benchmark.objects.filter(
            model=model, target=Target.ROUTE, state__in=STATES_OPEN
        ).exists():
            continue
        try:
            found.append(
                benchmark_request(
                    model=model,
                    target=Target.ROUTE,
                    scenario=Scenario.SERVER,
                    trigger=Trigger.SCHEDULE,
                    reason=f"rehearsal: the busiest hour of the week had {peak_hz:.2g} calls/s",
                    settings={"loads": [round(peak_hz * share, 2) for share in OF_PEAK]},
                )
            )
        except ValidationError as error:
            log.warning("no rehearsal of %s: %s", model, "; ".join(error.messages))
    return found


def _peaks() -> list[tuple[AIModel, float]]:
    """The busiest published models, with the calls a second of their busiest hour."""
    hours = DeploymentRollup.objects.filter(
        span=Span.HOUR, starts_at__gte=timezone.now() - LOOKS_BACK
    ).exclude(deployment_id=0)
    sums = hours.order_by().values_list("model", "starts_at").annotate(n=Sum("calls"))
    peaks: dict[str, float] = {}
    for model, _at, calls in sums:
        peaks[model] = max(peaks.get(model, 0.0), calls / HOUR_S)
    rows = models_published().filter(name__in=[n for n, hz in peaks.items() if hz >= RATE_HZ_MIN])
    found = sorted(((row, peaks[row.name]) for row in rows), key=lambda found: -found[1])
    return found[:MODELS_MAX]
