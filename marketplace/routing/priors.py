"""What routers begin with for a deployment, told by whoever measures."""

from dataclasses import dataclass
from typing import cast

from django.dispatch import Signal

from router.domain.catalog import EngineCurve

priors_asked = Signal()
"""Each receiver answers with the priors that it has in force, by the deployment's key."""


@dataclass(frozen=True, slots=True)
class Prior:
    """As in :class:`router.domain.catalog.Deployment`; by default, nothing is known."""

    service_ms: float = 0.0
    batch_curve: tuple[tuple[int, float], ...] = ()
    engine: EngineCurve | None = None


def priors_in_force() -> dict[int, Prior]:
    """By the deployment's key, of those that were measured."""
    found: dict[int, Prior] = {}
    for _receiver, told in priors_asked.send(None):
        found |= cast("dict[int, Prior]", told)
    return found
