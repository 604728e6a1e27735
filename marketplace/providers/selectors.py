"""Reading providers, their listings and checks."""

from django.db.models import Prefetch, QuerySet

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import Deployment, Provider
from marketplace.providers.listings.states import ListingState
from marketplace.providers.models import ConformanceResult, ConformanceRun, Listing


def providers_of(organisation: Organisation) -> QuerySet[Provider]:
    """An organisation's providers."""
    return Provider.objects.filter(organisation=organisation)


def listings_of(organisations: QuerySet[Organisation]) -> QuerySet[Listing]:
    """Listings of these organisations' providers, newest first, with what their rows name."""
    return Listing.objects.filter(provider__organisation__in=organisations).select_related(
        "provider__organisation",
        "existing_model",
        "deployment__version__model",
        "deployment__pool",
        "benchmark",
    )


def listings_to_review() -> QuerySet[Listing]:
    """The staff's queue: the longest waiting first."""
    rows = Listing.objects.filter(state=ListingState.REVIEW).order_by("updated_at", "id")
    return rows.select_related("provider__organisation", "existing_model", "benchmark")


def run_shown(listing: Listing) -> ConformanceRun | None:
    """The newest check of a listing with its results."""
    results = Prefetch("results", ConformanceResult.objects.order_by("endpoint", "id"))
    return listing.runs.prefetch_related(results).first()


def deployments_of(organisation: Organisation) -> QuerySet[Deployment]:
    """Everything that an organisation's providers offer or offered."""
    return (
        Deployment.objects.filter(provider__organisation=organisation)
        .select_related("version__model", "provider", "pool", "listing")
        .order_by("-id")
    )
