"""Verbs of providers and their listings."""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.models import Benchmark, Target
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import NAME, AIModel, Deployment, DeploymentStatus, Provider
from marketplace.catalog.selectors import offer_in_force
from marketplace.pipelines.models import Pipeline
from marketplace.providers.listings.drafts import draft_check
from marketplace.providers.listings.states import (
    WHY_NEEDED,
    ListingAction,
    ListingState,
    Step,
    StepRefused,
    Who,
    step_of,
)
from marketplace.providers.models import ConformanceRun, Listing, ListingEvent
from marketplace.routing.services import snapshot_publish
from marketplace.shared.jobs.models import STATES_OPEN, JobState
from marketplace.shared.jobs.services import job_ask, job_cancel
from router.domain.pricing import PRICE_FIELDS

PROVIDERS_MAX = 20
LISTINGS_OPEN_MAX = 200
STAGED = (
    ListingState.CHECKED,
    ListingState.BENCHMARKING,
    ListingState.BENCHMARKED,
    ListingState.REVIEW,
)
"""States in which what a listing sells waits for approval."""
WHY_CHARACTERS = 500
PROVIDER_FIELDS = ("name", "description", "website")
DRAFT_FIELDS = frozenset(
    field.name
    for field in Listing._meta.concrete_fields
    if field.editable and field.name not in {"id", "provider"}
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a person, a key of an organisation, or the system itself."""

    who: Who
    name: str
    user: User | None = None


SYSTEM = Actor(Who.SYSTEM, "system")


@transaction.atomic
def provider_open(
    *, organisation: Organisation, slug: str, name: str, description: str = "", website: str = ""
) -> Provider:
    """Make an organisation a provider. The commission is the platform's default.

    Raises ``ValidationError`` by field. A slug is also the author
    of the provider's models, so one that already has models is taken.
    """
    if organisation.providers.count() >= PROVIDERS_MAX:
        raise ValidationError(
            _("An organisation runs at most %(n)s providers.") % {"n": PROVIDERS_MAX}
        )
    try:
        NAME(slug)
    except ValidationError as error:
        raise ValidationError({"slug": error.messages}) from error
    if _is_an_author(slug, organisation):
        raise ValidationError(
            {"slug": _("Models by this author already exist: choose another name.")}
        )
    provider = Provider(
        organisation=organisation, slug=slug, name=name, description=description, website=website
    )
    provider.full_clean()
    provider.save()
    return provider


def _is_an_author(slug: str, organisation: Organisation) -> bool:
    """Whether somebody else's models or pipelines are, or may be, named by it.

    An organisation's own pipelines begin with its slug.
    """
    others = Organisation.objects.exclude(pk=organisation.pk)
    return (
        AIModel.objects.filter(name__startswith=f"{slug}/").exists()
        or Pipeline.objects.filter(name__startswith=f"{slug}/", organisation=None).exists()
        or others.filter(slug=slug).exists()
    )


@transaction.atomic
def provider_update(*, provider: Provider, **fields: str) -> Provider:
    """Change what a provider says of itself: :data:`PROVIDER_FIELDS`. Its slug stays."""
    for name in PROVIDER_FIELDS:
        setattr(provider, name, fields.get(name, getattr(provider, name)))
    provider.full_clean()
    provider.save(update_fields=list(PROVIDER_FIELDS))
    return provider


@transaction.atomic
def provider_commission_set(*, provider: Provider, commission_bps: int) -> Provider:
    """What the platform keeps, from now on. For staff."""
    provider.commission_bps = commission_bps
    provider.full_clean()
    provider.save(update_fields=["commission_bps"])
    snapshot_publish()
    return provider


@transaction.atomic
def listing_create(*, provider: Provider, created_by: User | None, **fields: Any) -> Listing:
    """Start a draft. It may be incomplete."""
    listings = Listing.objects.filter(provider=provider).exclude(state=ListingState.RETIRED)
    if listings.count() >= LISTINGS_OPEN_MAX:
        raise ValidationError(
            _("A provider has at most %(n)s listings: retire some.") % {"n": LISTINGS_OPEN_MAX}
        )
    listing = Listing(provider=provider, created_by=created_by)
    return _saved(listing, fields)


@transaction.atomic
def listing_update(*, listing: Listing, **fields: Any) -> Listing:
    """Change a draft; nothing needs to be complete yet. Raises ``ValidationError``."""
    row = Listing.objects.select_for_update(of=("self",)).get(pk=listing.pk)
    if not row.is_draft:
        raise ValidationError(
            _("Only a draft can be changed. This listing is %(state)s: revise it first.")
            % {"state": row.get_state_display()}
        )
    return _saved(row, fields)


def _saved(listing: Listing, fields: dict[str, Any]) -> Listing:
    if strangers := set(fields) - DRAFT_FIELDS:
        raise ValidationError(f"no field of a draft is called {min(strangers)!r}")
    for name, value in fields.items():
        setattr(listing, name, value)
    listing.clean_fields(exclude=["provider", "state"])
    listing.save()
    return listing


def listing_act(
    *, listing: Listing, action: ListingAction | str, actor: Actor, why: str = ""
) -> Listing:
    """Take a step of :data:`.listings.states.STEPS`, with its effects.

    Raises ``ValidationError`` when it is not possible, by field where a draft is incomplete.
    """
    action = ListingAction(action)
    if action in WHY_NEEDED and not why.strip():
        raise ValidationError({"why": _("Give a reason: the provider sees it.")})
    checked = None
    if action is ListingAction.SUBMIT and listing.is_draft:
        # Names are resolved here, before a row is locked.
        checked = Listing.objects.get(pk=listing.pk)
        draft_check(checked)
    with transaction.atomic():
        row = Listing.objects.select_for_update(of=("self",)).get(pk=listing.pk)
        if checked is not None and row.updated_at != checked.updated_at:
            raise ValidationError(_("The draft was changed at this very moment: submit it again."))
        try:
            step = step_of(row.state, action, actor.who)
        except StepRefused as error:
            raise ValidationError(str(error)) from error
        if effect := _EFFECTS.get(action):
            effect(row, actor)
        _take(row, action, step, actor, why)
        # Last: put it in force for routers.
        snapshot_publish()
    return row


def _take(row: Listing, action: ListingAction, step: Step, actor: Actor, why: str) -> None:
    ListingEvent.objects.create(
        listing=row,
        action=action,
        from_state=row.state,
        to_state=step.to,
        by=actor.user,
        actor=actor.name,
        why=why.strip()[:WHY_CHARACTERS],
    )
    row.state = step.to
    row.save()


def _submit(row: Listing, actor: Actor) -> None:
    if row.runs.filter(state__in=STATES_OPEN).exists():
        raise ValidationError(_("The last check is still stopping: try again in a moment."))
    job_ask(ConformanceRun(listing=row, asked_by=actor.user))


def _cancel(row: Listing, actor: Actor) -> None:
    if row.state == ListingState.BENCHMARKING:
        if row.benchmark is not None:
            job_cancel(row.benchmark)
        return
    for run in row.runs.filter(state__in=STATES_OPEN):
        job_cancel(run)


def _benchmark(row: Listing, actor: Actor) -> None:
    deployment = row.deployment
    if deployment is None:
        raise ValidationError(_("Submit the listing first: its check prepares what is measured."))
    row.benchmark = benchmark_request(
        model=deployment.version.model,
        target=Target.DEPLOYMENT,
        deployment=deployment,
        reason=f"listing #{row.pk}",
        asked_by=actor.user,
    )


def _set_status(status: DeploymentStatus) -> Any:
    def set_status(row: Listing, actor: Actor) -> None:
        if row.deployment is not None:
            row.deployment.status = status
            row.deployment.published |= status == DeploymentStatus.LIVE
            row.deployment.save(update_fields=["status", "published"])

    return set_status


def _approve(row: Listing, actor: Actor) -> None:
    if row.deployment is None:
        raise ValidationError(_("There is nothing to put live."))
    model = row.deployment.version.model
    if row.existing_model is None:
        row.describe(model)
        model.full_clean()
    model.published = True
    model.save()
    _set_status(DeploymentStatus.LIVE)(row, actor)


def _priced_as_in_force(row: Listing, actor: Actor) -> None:
    """The draft begins with the price in force: it may have been set after the listing was made."""
    offer = offer_in_force(row.deployment) if row.deployment else None
    if offer is not None:
        for name in PRICE_FIELDS:
            setattr(row, name, getattr(offer, name))


_EFFECTS: dict[ListingAction, Any] = {
    ListingAction.SUBMIT: _submit,
    ListingAction.CANCEL: _cancel,
    ListingAction.BENCHMARK: _benchmark,
    ListingAction.APPROVE: _approve,
    ListingAction.SEND_BACK: _priced_as_in_force,
    ListingAction.REVISE: _priced_as_in_force,
    ListingAction.RESUME: _set_status(DeploymentStatus.LIVE),
    ListingAction.REINSTATE: _set_status(DeploymentStatus.LIVE),
    ListingAction.PAUSE: _set_status(DeploymentStatus.PAUSED),
    ListingAction.SUSPEND: _set_status(DeploymentStatus.PAUSED),
    ListingAction.RETIRE: _set_status(DeploymentStatus.RETIRED),
}


def deployments_hide() -> int:
    """Hide what waits for approval, or ended without any, where an older release staged it.

    Returns how many.
    """
    approved = ListingEvent.objects.filter(listing=OuterRef("pk"), action=ListingAction.APPROVE)
    unseen = Listing.objects.filter(Q(state__in=STAGED) | ~Exists(approved)).order_by()
    rows = Deployment.objects.filter(
        pk__in=unseen.exclude(deployment=None).values("deployment"), published=True
    )
    return rows.exclude(status=DeploymentStatus.LIVE).update(published=False)


def listings_follow() -> list[int]:
    """Move on listings whose benchmark has ended; returns their ids."""
    moved = []
    rows = Listing.objects.filter(state=ListingState.BENCHMARKING).select_related("benchmark")
    for listing in rows.order_by("pk"):
        benchmark = listing.benchmark
        if benchmark is not None and not benchmark.is_over:
            continue
        action, why = _outcome(benchmark)
        listing_act(listing=listing, action=action, actor=SYSTEM, why=why)
        moved.append(listing.pk)
    return moved


def _outcome(benchmark: Benchmark | None) -> tuple[ListingAction, str]:
    if benchmark is not None and benchmark.state == JobState.SUCCEEDED:
        return ListingAction.MEASURED, ""
    return ListingAction.UNMEASURED, benchmark.error or benchmark.state if benchmark else "gone"
