"""Builds the router's snapshot from the tables."""

import json
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from marketplace.accounts.models import LIMIT_FIELDS, ApiKey, Guarded, Organisation, RateLimited
from marketplace.accounts.selectors import ended_sessions
from marketplace.billing.models import Budget
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus, Offer, Task, Worker
from marketplace.catalog.prices import price_of
from marketplace.catalog.reservations import workers_reserved
from marketplace.endpoints.selectors import own_parts
from marketplace.keys.limits import RULE_LIMITS, rules_of
from marketplace.presets.selectors import presets_in_force
from marketplace.routing.models import Policy, PolicyState
from marketplace.routing.priors import Prior, priors_in_force
from router.contracts.snapshot import Snapshot
from router.domain import catalog as wire
from router.domain.request import MODALITIES, Modality

Tensors = tuple[tuple[str, str, tuple[int, ...]], ...]


def snapshot_build() -> Snapshot:
    """Everything that can be routed now, as version 0 without a date; the publisher sets both.

    Deployments without an offer in force are left out, as they have no price; so are emulated
    rows if ``WAYPOST_EMULATED`` is off. Organisations' own endpoints come after the market.
    """
    offers = _offers_in_force()
    rows = [row for row in _deployments() if row.pk in offers]
    model_names = {row.version.model.name for row in rows}
    pool_names = {row.pool.name for row in rows}
    priors = priors_in_force()
    versions = {row.version.model_id: row.version for row in rows}
    pools = {row.pool_id: row.pool for row in rows}
    priced_by_image = {row.version.model_id for row in rows if offers[row.pk].image_nano}
    own = own_parts()
    return Snapshot(
        version=0,
        published_at_ms=0,
        models=(
            *(
                _model(version, version.model_id in priced_by_image)
                for version in sorted(versions.values(), key=lambda v: v.model.name)
            ),
            *own.models,
        ),
        pools=(
            *(
                wire.Pool(
                    name=pool.name,
                    hardware=pool.hardware,
                    emulated=pool.emulated,
                    engine=pool.engine,
                    start_s=pool.start_s,
                )
                for pool in sorted(pools.values(), key=lambda pool: pool.name)
            ),
            *own.pools,
        ),
        workers=(*_workers(pool_names), *own.workers),
        deployments=(
            *(_deployment(row, offers[row.pk], priors.get(row.pk, Prior())) for row in rows),
            *own.deployments,
        ),
        policies=_policies(model_names),
        canaries=_canaries(model_names),
        keys=_keys(),
        organisations=_organisations(),
        budgets=_budgets(),
        ended_sessions=ended_sessions(),
        presets=_presets(),
    )


def _deployments() -> QuerySet[Deployment]:
    rows = Deployment.objects.filter(
        status=DeploymentStatus.LIVE,
        version__model__published=True,
        provider__billing_account__isnull=False,
    )
    if not settings.WAYPOST_EMULATED:
        rows = rows.filter(pool__emulated=False)
    return rows.select_related("version__model", "provider__billing_account", "pool").order_by("id")


def _offers_in_force() -> dict[int, Offer]:
    newest = (
        Offer.objects.filter(effective_at__lte=timezone.now())
        .order_by("deployment_id", "-effective_at", "-id")
        .distinct("deployment_id")
    )
    return {offer.deployment_id: offer for offer in newest}


def _model(version: Any, is_priced_by_image: bool) -> wire.Model:
    model = version.model
    return wire.Model(
        name=model.name,
        task=model.task,
        version=version.version,
        created_s=int(model.created_at.timestamp()),
        display_name=model.display_name,
        description=model.description,
        context_tokens_max=model.context_tokens_max,
        completion_tokens_max=model.completion_tokens_max,
        emulated=model.emulated,
        inputs=_tensors(model.tensors.get("inputs", ())),
        outputs=_tensors(model.tensors.get("outputs", ())),
        takes=chat_takes(model, is_priced_by_image) if model.task == Task.CHAT else None,
    )


def chat_takes(model: AIModel, is_priced_by_image: bool) -> tuple[str, ...] | None:
    """The modalities of a chat besides text: those that its input schema names, and images if they
    have a price. None if nothing is known.
    """
    schema = json.dumps(model.input_schema)
    named = {modality.value for part, modality in MODALITIES.items() if f'"{part}"' in schema}
    if is_priced_by_image:
        named.add(Modality.IMAGE.value)
    return tuple(sorted(named)) if named or model.input_schema else None


def _tensors(rows: Iterable[dict[str, Any]]) -> Tensors:
    return tuple((row["name"], row["datatype"], tuple(row["shape"])) for row in rows)


def _deployment(row: Deployment, offer: Offer, prior: Prior) -> wire.Deployment:
    return wire.Deployment(
        id=row.pk,
        model=row.version.model.name,
        provider=row.provider.slug,
        provider_account_id=row.provider.billing_account.pk,
        pool=row.pool.name,
        upstream_model=row.upstream_model,
        price=price_of(offer),
        commission_bps=row.provider.commission_bps,
        service_prior_ms=prior.service_ms,
        batch_curve=prior.batch_curve,
        engine_prior=prior.engine,
        quantization=row.quantization,
        parameters=tuple(row.supported_parameters),
        collects_data=row.collects_data,
    )


def _workers(pool_names: set[str]) -> tuple[wire.Worker, ...]:
    rows = Worker.objects.filter(pool__name__in=pool_names).select_related("pool")
    reserved = workers_reserved()
    return tuple(
        wire.Worker(
            id=row.worker_id,
            pool=row.pool.name,
            url=row.url.rstrip("/"),
            protocol=row.protocol,
            slots=row.slots - (row.pk in reserved),
            healthy=row.healthy,
            draining=row.draining,
            left_out=row.left_out,
            reserved=int(row.pk in reserved),
            kv_events_port=row.kv_events_port or 0,
            kv_replay_port=row.kv_replay_port or 0,
        )
        for row in rows.order_by("worker_id")
    )


def policies_in_force() -> QuerySet[Policy]:
    """The latest published policy of each model."""
    return (
        Policy.objects.filter(state=PolicyState.PUBLISHED)
        .select_related("model")
        .order_by("model_id", "-version")
        .distinct("model_id")
    )


def policy_value(row: Policy) -> wire.Policy:
    """The router's value of a policy version."""
    return wire.Policy(
        id=row.pk,
        version=row.version,
        model=row.model.name,
        kind=row.kind,
        wait_weight=row.wait_weight,
        usd_weight_s=row.usd_weight_s,
        hedge_share=row.hedge_share,
        shared=row.shared,
        weights={int(deployment): weight for deployment, weight in sorted(row.weights.items())},
    )


def _policies(model_names: set[str]) -> tuple[wire.Policy, ...]:
    rows = policies_in_force().filter(model__name__in=model_names)
    return tuple(policy_value(row) for row in rows)


def _canaries(model_names: set[str]) -> tuple[wire.Canary, ...]:
    rows = Policy.objects.filter(
        model__name__in=model_names, state=PolicyState.CANARY, canary_share__gt=0
    )
    return tuple(
        wire.Canary(policy_value(row), row.canary_share)
        for row in rows.select_related("model").order_by("model_id")
    )


def _keys() -> tuple[wire.ApiKey, ...]:
    rows = ApiKey.objects.filter(
        disabled_at=None,
        organisation__closed_at=None,
        organisation__billing_account__isnull=False,
    )
    return tuple(
        wire.ApiKey(
            id=row.pk,
            digest=row.digest,
            organisation_id=row.organisation_id,
            account_id=row.organisation.billing_account.pk,
            scopes=tuple(row.scopes),
            models=tuple(row.models_allowed),
            expires_at_s=int(row.expires_at.timestamp()) if row.expires_at else 0,
            limits=_limits(row),
            user_id=row.created_by_id or 0,
            rules=tuple(
                wire.LimitRule(
                    rule.model,
                    rule.each_user,
                    wire.RateLimits(**{name: getattr(rule, name) for name in RULE_LIMITS}),
                )
                for rule in rules_of(row.rules)
            ),
            masks=tuple(row.masks),
            guard=_guard(row),
        )
        for row in rows.select_related("organisation__billing_account").order_by("id")
    )


def _organisations() -> tuple[wire.Organisation, ...]:
    rows = Organisation.objects.order_by("id")
    return tuple(
        wire.Organisation(
            row.pk,
            _limits(row),
            keeps_responses=row.keeps_responses,
            masks=tuple(row.masks),
            guard=_guard(row),
        )
        for row in rows
        if row.is_limited or not row.keeps_responses or row.masks or row.guard_model
    )


def _guard(row: Guarded) -> wire.Guard | None:
    if not row.guard_model:
        return None
    return wire.Guard(row.guard_model, row.guard_inputs, row.guard_answers, row.guard_passes)


def _budgets() -> tuple[wire.Budget, ...]:
    """The budgets of routable callers; only the ledger knows their limits."""
    rows = Budget.objects.filter(key__disabled_at=None).order_by("id")
    return tuple(
        wire.Budget(row.pk, row.organisation_id, user_id=row.user_id or 0, key_id=row.key_id or 0)
        for row in rows
    )


def _presets() -> tuple[wire.Preset, ...]:
    return tuple(
        wire.Preset(
            row.organisation_id,
            row.name,
            row.version,
            model=row.model,
            system=row.system,
            fields=json.dumps(row.parameters),
        )
        for row in presets_in_force()
    )


def _limits(row: RateLimited) -> wire.RateLimits:
    return wire.RateLimits(**{name: getattr(row, name) or 0 for name in LIMIT_FIELDS})
