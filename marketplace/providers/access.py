"""Who may act for a provider."""

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from marketplace.accounts.access import organisation_acted_for, organisations_seen_by
from marketplace.accounts.permissions import Permission
from marketplace.catalog.models import Provider


def provider_demand(request: Request, provider: Provider) -> None:
    """Raises unless the caller may publish for the provider. Does not reveal the owner."""
    owner = provider.organisation
    if owner is None or not organisations_seen_by(request).filter(pk=owner.pk).exists():
        raise NotFound(f"Your organisations run no provider {provider.slug!r}.")
    organisation_acted_for(request, owner.slug, Permission.OFFERINGS)
