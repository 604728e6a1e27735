"""Own endpoints in the router's words, and how they did lately."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.endpoints.models import Dialect, OwnEndpoint, OwnWorker
from marketplace.usage.models import Span, UsageRollup
from marketplace.usage.rollups.selectors import Figures, figures_by
from router.domain import catalog as wire
from router.domain.money import BASIS_POINTS, NANO_PER_USD
from router.domain.pricing import Price
from router.domain.protocols import OWN_ANTHROPIC, OWN_OPENAI
from router.domain.request import MaxPrice

PROTOCOLS = {Dialect.OPENAI: OWN_OPENAI, Dialect.ANTHROPIC: OWN_ANTHROPIC}
FIGURES_OVER = timedelta(days=1)
DRAINED_AFTER = timedelta(hours=1)
"""Routers forget a server that drains and that no agent has reported for so long."""


@dataclass(frozen=True, slots=True)
class OwnParts:
    """What a snapshot has of own endpoints: one of each for each.

    A hosted one has as many workers as its hosts have servers.
    """

    models: tuple[wire.Model, ...]
    pools: tuple[wire.Pool, ...]
    workers: tuple[wire.Worker, ...]
    deployments: tuple[wire.Deployment, ...]


def own_parts() -> OwnParts:
    """Every own endpoint. Two queries."""
    rows = list(
        OwnEndpoint.objects.select_related("organisation", "stands_for")
        .prefetch_related(Prefetch("workers", queryset=_workers_in_use()))
        .order_by("pk")
    )
    return OwnParts(
        models=tuple(map(_model, rows)),
        pools=tuple(wire.Pool(row.place, hardware="") for row in rows),
        workers=tuple(worker for row in rows for worker in _workers(row)),
        deployments=tuple(map(_deployment, rows)),
    )


def own_endpoints_of(organisation: Organisation) -> QuerySet[OwnEndpoint]:
    """By name."""
    return organisation.own_endpoints.select_related("organisation", "stands_for").order_by("slug")


def _workers_in_use() -> QuerySet[OwnWorker]:
    heard = Q(reported_at__gte=timezone.now() - DRAINED_AFTER)
    return OwnWorker.objects.filter(Q(draining=False) | heard).order_by("pk")


def own_workers_to_probe() -> list[OwnWorker]:
    """Servers of hosts that can get requests."""
    return list(OwnWorker.objects.filter(draining=False).order_by("pk"))


def own_figures(organisation: Organisation) -> dict[int, Figures]:
    """Calls and latencies of the last day, by ``deployment_id`` of the endpoints called."""
    rows = UsageRollup.objects.filter(
        organisation_id=organisation.pk,
        span=Span.HOUR,
        starts_at__gte=timezone.now() - FIGURES_OVER,
        deployment_id__lt=0,
    )
    return figures_by(rows, "deployment_id")


def _model(row: OwnEndpoint) -> wire.Model:
    return wire.Model(
        name=row.name,
        task=row.task,
        version="1",
        created_s=int(row.created_at.timestamp()),
        display_name=row.slug,
        context_tokens_max=row.context_tokens_max,
        completion_tokens_max=row.completion_tokens_max,
        own=wire.Own(
            organisation_id=row.organisation_id,
            stands_for=row.stands_for.name if row.stands_for else "",
            spills=row.spills,
            market_max=_market_max(row),
        ),
    )


def _market_max(row: OwnEndpoint) -> MaxPrice | None:
    prompt, completion = row.market_prompt_nano_max, row.market_completion_nano_max
    if prompt is None and completion is None:
        return None
    return MaxPrice(
        prompt=None if prompt is None else prompt / NANO_PER_USD,
        completion=None if completion is None else completion / NANO_PER_USD,
    )


def _workers(row: OwnEndpoint) -> tuple[wire.Worker, ...]:
    if row.hosted:
        return tuple(_hosted(row, server) for server in row.workers.all())
    return (
        wire.Worker(
            id=row.place,
            pool=row.place,
            url=row.url,
            protocol=PROTOCOLS[Dialect(row.dialect)],
            slots=row.slots,
            sealed_key=row.sealed_key,
        ),
    )


def _hosted(row: OwnEndpoint, server: OwnWorker) -> wire.Worker:
    return wire.Worker(
        id=server.worker_id,
        pool=row.place,
        url=server.url,
        protocol=OWN_OPENAI,
        slots=server.slots,
        healthy=server.healthy,
        draining=server.draining,
        sealed_key=row.sealed_key,
    )


def _deployment(row: OwnEndpoint) -> wire.Deployment:
    """Nobody earns by it: a fee is the platform's whole."""
    return wire.Deployment(
        id=row.deployment_id,
        model=row.name,
        provider=wire.OWN,
        provider_account_id=0,
        pool=row.place,
        upstream_model=row.upstream_model,
        price=Price(0, request_nano=settings.WAYPOST_ENDPOINT_FEE_NANO),
        commission_bps=BASIS_POINTS,
    )
