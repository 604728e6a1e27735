"""What benchmarks answer when routing asks."""

from typing import Any

from django.dispatch import receiver

from marketplace.batches.formats.capacity import rows_asked
from marketplace.benchmarks.models import Profile
from marketplace.benchmarks.selectors import profiles_in_force, rows_best
from marketplace.routing.priors import Prior, priors_asked


@receiver(priors_asked)
def _priors(**_: Any) -> dict[int, Prior]:
    return {profile.deployment_id: _prior(profile) for profile in profiles_in_force()}


@receiver(rows_asked)
def _rows(model: str, **_: Any) -> int:
    return rows_best(model)


def _prior(profile: Profile) -> Prior:
    figures = profile.engine_figures
    return Prior(
        service_ms=profile.service_ms,
        batch_curve=tuple((int(n), float(factor)) for n, factor in profile.batch_curve),
        engine=figures.curve if figures else None,
    )
