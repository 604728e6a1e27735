"""Seeds the demo. Rows are looked up by public name first, as each start repeats it."""

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction

from marketplace.accounts.models import ApiKey, Organisation, Scope, User
from marketplace.accounts.services import api_key_register, organisation_create
from marketplace.benchmarks.models import Origin, Profile
from marketplace.benchmarks.profiles.engine_figures import EngineFigures, Sum
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.services import system_accounts_open
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    DeploymentStatus,
    ModelVersion,
    Offer,
    Pool,
    Provider,
    Worker,
)
from marketplace.catalog.services import offer_create, workers_lock
from marketplace.demo.fleet import FleetEngine, FleetWorker
from marketplace.demo.offering.emulated import EMULATED_MODELS
from marketplace.demo.offering.entries import USD, DemoModel
from marketplace.demo.offering.pools import POOLS, PROVIDERS
from marketplace.demo.offering.real import REAL_MODELS
from marketplace.pipelines.services import pipeline_apply
from marketplace.routing.models import Policy, PolicyKind
from marketplace.routing.services import snapshot_publish
from marketplace.routing.trials.events import DEMO, event_record, tuned_by
from marketplace.routing.trials.models import EventKind, Mode, RouteTuning
from router.domain.keys import compose_key, digest_key, key_is_wellformed

EMAIL = "demo@waypost.local"
ORGANISATION = "demo"
CREDIT_NANO = 25 * USD
PIPELINE = Path(__file__).parent / "fraud_note.json"
LEFT_OUT_CHARACTERS = 200
CONTEXT_TOKENS = 128.0
"""The typical call of a given prior: a prompt and an answer of 64 tokens each."""


@dataclass(frozen=True, slots=True)
class DemoCredentials:
    """The demo's login and key, kept in ``demo.json`` (0600) so that each start can show them."""

    email: str
    password: str
    api_key: str


def demo_credentials(path: Path) -> DemoCredentials:
    """The credentials of an earlier start, else new ones, written to the file before use."""
    try:
        kept = DemoCredentials(**json.loads(path.read_text()))
        if key_is_wellformed(kept.api_key):
            return kept
    except (FileNotFoundError, ValueError, TypeError):
        pass
    made = DemoCredentials(EMAIL, secrets.token_urlsafe(9), compose_key(secrets.token_bytes(32)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(made), file)
    part.replace(path)
    return made


@transaction.atomic
def demo_seed(*, fleet: Sequence[FleetWorker] | None, credentials: DemoCredentials) -> None:
    """Update organisation and catalog to match the fleet; None keeps the last one."""
    system_accounts_open()
    organisation = _organisation(credentials)
    _providers(organisation)
    _pools()
    if fleet is not None:
        _workers(fleet)
    for model in (*REAL_MODELS, *EMULATED_MODELS):
        if fleet is not None or not model.emulated:
            _model(model, _pools_serving(model, fleet or ()))
    pipeline_apply(text=PIPELINE.read_bytes(), organisation=None)
    _priors(fleet or ())
    _key(credentials, organisation)
    snapshot_publish()


def _organisation(credentials: DemoCredentials) -> Organisation:
    user = User.objects.filter(email=credentials.email).first()
    if user is None:
        # Staff and superuser: the demo opens Django's admin too. Only this local demo does so.
        user = User.objects.create_superuser(
            credentials.email, credentials.password, full_name="Demo User"
        )
    elif not user.check_password(credentials.password):
        user.set_password(credentials.password)
        user.save(update_fields=["password"])
    # With mail, an address must be verified before sign-in, and nobody reads this one's mail.
    EmailAddress.objects.update_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
    organisation = Organisation.objects.filter(slug=ORGANISATION).first()
    if organisation is None:
        organisation = organisation_create(name="Demo", slug=ORGANISATION, owner=user)
    grant_order(
        organisation=organisation,
        amount_nano=CREDIT_NANO,
        reason="Credit that the demo begins with.",
        ordered_by=user,
        idem_key=f"{ORGANISATION}:welcome",
    )
    return organisation


def _providers(organisation: Organisation) -> None:
    for demo in PROVIDERS:
        Provider.objects.update_or_create(
            slug=demo.slug,
            defaults={
                "name": demo.name,
                "description": demo.description,
                "emulated": demo.emulated,
                "organisation": organisation,
            },
        )


def _pools() -> None:
    for demo in POOLS:
        Pool.objects.update_or_create(
            name=demo.name,
            defaults={
                "hardware": demo.hardware,
                "engine": demo.engine,
                "cost_nano_per_hour": demo.worker_cost_nano_per_hour,
                "emulated": demo.emulated,
            },
        )


def _workers(fleet: Sequence[FleetWorker]) -> None:
    """Upsert the fleet's workers; a missing one drains until a later fleet has it again."""
    pools = {pool.name: pool for pool in Pool.objects.all()}
    workers_lock(Worker.objects.all())
    for entry in fleet:
        pool = pools.get(entry.pool) or Pool.objects.create(
            name=entry.pool, hardware="unknown", engine="unknown", emulated=entry.emulated
        )
        Worker.objects.update_or_create(
            worker_id=entry.worker,
            defaults={
                "pool": pool,
                "url": entry.url.rstrip("/"),
                "protocol": entry.protocol,
                "slots": entry.slots,
                "healthy": not entry.left_out,
                "left_out": entry.left_out[:LEFT_OUT_CHARACTERS],
                "health_error": entry.left_out[:LEFT_OUT_CHARACTERS],
                "draining": False,
            },
        )
    gone = Worker.objects.exclude(worker_id__in=[entry.worker for entry in fleet])
    gone.filter(pool__name__in=[demo.name for demo in POOLS]).update(
        draining=True, healthy=False, health_error="not in the fleet"
    )


def _pools_serving(model: DemoModel, fleet: Sequence[FleetWorker]) -> set[str]:
    """Pools that sell the model: those with a price; emulated ones must be in the fleet."""
    if not model.emulated:
        return set(model.prices)
    if not settings.WAYPOST_EMULATED:
        return set()
    return {
        entry.pool
        for entry in fleet
        if entry.pool in model.prices and (not entry.priors or model.name in entry.priors)
    }


def _model(demo: DemoModel, pools: set[str]) -> None:
    if not pools and not AIModel.objects.filter(name=demo.name).exists():
        return
    model, _ = AIModel.objects.update_or_create(
        name=demo.name,
        defaults={
            "display_name": demo.display_name,
            "task": demo.task,
            "description": demo.description,
            "license": demo.license,
            "source_url": demo.source_url,
            "context_tokens_max": demo.context_tokens_max,
            "completion_tokens_max": demo.completion_tokens_max,
            "input_schema": demo.input_schema,
            "tensors": demo.tensors,
            "emulated": demo.emulated,
            "published": bool(pools),
        },
    )
    version, _ = ModelVersion.objects.get_or_create(model=model, version=demo.version)
    for pool in POOLS:
        if pool.name in demo.prices:
            _deployment(demo, version, pool.name, pool.provider, live=pool.name in pools)
    if not Policy.objects.filter(model=model).exists():
        Policy.objects.create(model=model, version=1, kind=PolicyKind.LATE_BINDING, note="demo")
    _tuning(model)


def _tuning(model: AIModel) -> None:
    """Turn on automatic tuning for the demo. What a person set stays."""
    tuning, _ = RouteTuning.objects.get_or_create(model=model)
    if tuning.mode != Mode.AUTOMATIC and not tuned_by(model):
        tuning.mode = Mode.AUTOMATIC
        tuning.save(update_fields=["mode"])
        event_record(kind=EventKind.TUNED, model=model, why=DEMO)


def _deployment(
    demo: DemoModel, version: ModelVersion, pool: str, provider: str, *, live: bool
) -> None:
    row = Deployment.objects.filter(
        version=version, pool__name=pool, provider__slug=provider
    ).first()
    if row is None:
        if not live:
            return
        row = Deployment(
            version=version,
            pool=Pool.objects.get(name=pool),
            provider=Provider.objects.get(slug=provider),
        )
    row.upstream_model = demo.upstream_model
    row.quantization = demo.quantization
    row.supported_parameters = list(demo.supported_parameters)
    row.collects_data = False
    if row.status != DeploymentStatus.RETIRED:
        row.status = DeploymentStatus.LIVE if live else DeploymentStatus.PAUSED
    row.save()
    # Only the first price is the demo's: a later one of a person stays in force.
    if not Offer.objects.filter(deployment=row).exists():
        offer_create(deployment=row, price=demo.prices[pool])


def _priors(fleet: Sequence[FleetWorker]) -> None:
    by_pool = {
        (entry.pool, model): (service_ms, _engine(entry.engines.get(model)))
        for entry in fleet
        for model, service_ms in entry.priors.items()
    }
    rows = Deployment.objects.select_related("version__model", "pool")
    for row in rows:
        service_ms, engine = by_pool.get((row.pool.name, row.version.model.name), (0.0, {}))
        if service_ms <= 0:
            continue
        last = Profile.objects.filter(deployment=row, origin=Origin.GIVEN, published=True).first()
        if last is None or (last.service_ms, last.engine) != (service_ms, engine):
            Profile.objects.create(
                deployment=row,
                service_ms=service_ms,
                engine=engine,
                source="given by the worker's backend in the fleet file",
                emulated=row.pool.emulated,
                published=True,
            )


def _engine(given: FleetEngine | None) -> dict[str, Any]:
    """The engine as a profile keeps it; {} without one."""
    if given is None:
        return {}
    first = Sum(given.first, (True,) * len(given.first), 0.0)
    step = Sum(given.step, (True,) * len(given.step), 0.0)
    figures = EngineFigures(
        first,
        step,
        answers=0,
        at_once=given.sequences,
        context_tokens=CONTEXT_TOKENS,
        event_tokens=1.0,
        kv_tokens=given.kv_tokens,
    )
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(figures))
    return told


def _key(credentials: DemoCredentials, organisation: Organisation) -> None:
    digest = digest_key(credentials.api_key, settings.WAYPOST_KEY_PEPPER)
    if ApiKey.objects.filter(digest=digest).exists():
        return
    api_key_register(
        key=credentials.api_key,
        organisation=organisation,
        name="Demo key",
        created_by=User.objects.get(email=credentials.email),
        scopes=[Scope.INFERENCE, Scope.MANAGEMENT],
    )
