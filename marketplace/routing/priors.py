"""Priors: what routers assume of a deployment at first, provided by the apps that measure."""

from dataclasses import dataclass
from typing import cast

from django.dispatch import Signal

from router.domain.catalog import EngineCurve

priors_asked = Signal()
"""Each receiver returns its priors in force, by deployment id."""


@dataclass(frozen=True, slots=True)
class Prior:
    """As in :class:`router.domain.catalog.Deployment`; the defaults mean "not known"."""

    service_ms: float = 0.0
    batch_curve: tuple[tuple[int, float], ...] = ()
    engine: EngineCurve | None = None


def priors_in_force() -> dict[int, Prior]:
    """The priors of measured deployments, by deployment id."""
    found: dict[int, Prior] = {}
    for _receiver, told in priors_asked.send(None):
        found |= cast("dict[int, Prior]", told)
    return found
