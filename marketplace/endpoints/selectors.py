"""Own endpoints in the router's words, and how they did lately."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.endpoints.models import Dialect, OwnEndpoint
from marketplace.usage.models import Span, UsageRollup
from marketplace.usage.rollups.selectors import Figures, figures_by
from router.domain import catalog as wire
from router.domain.money import BASIS_POINTS, NANO_PER_USD
from router.domain.pricing import Price
from router.domain.protocols import OWN_ANTHROPIC, OWN_OPENAI
from router.domain.request import MaxPrice

PROTOCOLS = {Dialect.OPENAI: OWN_OPENAI, Dialect.ANTHROPIC: OWN_ANTHROPIC}
FIGURES_OVER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class OwnParts:
    """What a snapshot has of own endpoints: one of each for each."""

    models: tuple[wire.Model, ...]
    pools: tuple[wire.Pool, ...]
    workers: tuple[wire.Worker, ...]
    deployments: tuple[wire.Deployment, ...]


def own_parts() -> OwnParts:
    """Every own endpoint. One query."""
    rows = list(OwnEndpoint.objects.select_related("organisation", "stands_for").order_by("pk"))
    return OwnParts(
        models=tuple(map(_model, rows)),
        pools=tuple(wire.Pool(_place(row), hardware="") for row in rows),
        workers=tuple(map(_worker, rows)),
        deployments=tuple(map(_deployment, rows)),
    )


def own_endpoints_of(organisation: Organisation) -> QuerySet[OwnEndpoint]:
    """By name."""
    return organisation.own_endpoints.select_related("organisation", "stands_for").order_by("slug")


def own_figures(organisation: Organisation) -> dict[int, Figures]:
    """Calls and latencies of the last day, by ``deployment_id`` of the endpoints called."""
    rows = UsageRollup.objects.filter(
        organisation_id=organisation.pk,
        span=Span.HOUR,
        starts_at__gte=timezone.now() - FIGURES_OVER,
        deployment_id__lt=0,
    )
    return figures_by(rows, "deployment_id")


def _place(row: OwnEndpoint) -> str:
    """The name of its worker and of its pool, which nobody else's may have."""
    return f"{wire.OWN_MARK}{row.pk}"


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


def _worker(row: OwnEndpoint) -> wire.Worker:
    return wire.Worker(
        id=_place(row),
        pool=_place(row),
        url=row.url,
        protocol=PROTOCOLS[Dialect(row.dialect)],
        slots=row.slots,
        sealed_key=row.sealed_key,
    )


def _deployment(row: OwnEndpoint) -> wire.Deployment:
    """Nobody earns by it: a fee is the platform's whole."""
    return wire.Deployment(
        id=row.deployment_id,
        model=row.name,
        provider=wire.OWN,
        provider_account_id=0,
        pool=_place(row),
        upstream_model=row.upstream_model,
        price=Price(0, request_nano=settings.WAYPOST_ENDPOINT_FEE_NANO),
        commission_bps=BASIS_POINTS,
    )
