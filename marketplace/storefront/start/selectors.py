"""What a newcomer calls first, and the call of theirs that arrived last."""

from dataclasses import dataclass
from uuid import UUID

from marketplace.catalog.models import Deployment, Task
from marketplace.catalog.selectors import models_published
from marketplace.storefront.browse.listing import Listing, listings, sort_models
from marketplace.usage.decisions.tries import places, reasons, tries
from marketplace.usage.models import UsageEvent
from router.domain.outcome import Outcome

TRIED_MAX = 10
"""The cheapest models of a kind that are looked at for one that can be called."""
REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SeenCall:
    """An organisation's last call, and why it went where it did. ``is_first`` says that no other
    call of theirs was answered.
    """

    event: UsageEvent
    is_first: bool
    reasons: list[str]
    deployment: Deployment | None


def model_to_try() -> Listing | None:
    """The cheapest chat model that can be called here; emulated only if there is no other."""
    chats = models_published().filter(task=Task.CHAT)
    for emulated in (False, True):
        cheapest = sort_models(chats.filter(emulated=emulated), "price")[:TRIED_MAX]
        for listing in listings(cheapest):
            if listing.cheapest and not listing.left_out:
                return listing
    return None


def call_seen(organisation_id: int, request_id: UUID | None = None) -> SeenCall | None:
    """The organisation's last call, or the one of this id; None before there is one."""
    calls = UsageEvent.objects.filter(organisation_id=organisation_id).order_by("-request_id")
    event = (calls.filter(pk=request_id) if request_id else calls).first()
    if event is None:
        return None
    return SeenCall(
        event,
        is_first=not calls.filter(outcome=Outcome.COMPLETED).exclude(pk=event.pk).exists(),
        reasons=reasons(places(event.candidates), tries(event.attempts))[:REASONS_SHOWN],
        deployment=Deployment.objects.filter(pk=event.deployment_id)
        .select_related("provider", "pool")
        .first(),
    )
