"""Closing an organisation."""

from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.invitations.services import invitation_revoke
from marketplace.accounts.models import PLATFORM_PREFIX, Organisation, User
from marketplace.agents.services import agent_revoke
from marketplace.agents.tokens import worker_token_end
from marketplace.batches.services import batch_cancel
from marketplace.billing.budgets.services import budget_remove
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.billing.payments.models import AutoRecharge, PaymentProfile
from marketplace.billing.payments.recharge import card_forget
from marketplace.catalog.models import DeploymentStatus
from marketplace.closing.selectors import (
    agents_of,
    batches_open,
    deployments_open,
    listings_open,
    pipelines_of,
    predictions_open,
    tokens_of,
)
from marketplace.endpoints.services import own_endpoint_remove
from marketplace.pipelines.services import pipeline_withdraw
from marketplace.predictions.services import prediction_cancel
from marketplace.providers.listings.states import ListingAction, ListingState, Who
from marketplace.providers.models import Listing
from marketplace.providers.services import Actor, listing_act
from marketplace.shared.signals import catalog_changed
from router.domain.money import format_usd

TO_RETIRE = {
    ListingState.CHECKING: ListingAction.CANCEL,
    ListingState.BENCHMARKING: ListingAction.CANCEL,
    ListingState.REVIEW: ListingAction.WITHDRAW,
}
"""What comes before retiring a listing; the others retire as they are."""


@transaction.atomic
def organisation_close(*, organisation: Organisation, by: User) -> Organisation:
    """Close it for good: nobody calls, sells or sees anything as it any more.

    Keys and memberships end, and what runs is cancelled and billed by the rules. The books, calls
    and the audit log stay. What routers hold of its credit comes back as leases end. Raises
    ``ValidationError`` where it owes money, as nobody would be left to pay it.
    """
    row = Organisation.objects.select_for_update().get(pk=organisation.pk)
    closing_check(row)
    _selling_end(row, by)
    _work_end(row)
    _money_end(row)
    for key in row.api_keys.filter(disabled_at=None):
        # Saved one by one, as the audit log misses bulk updates; published once, below.
        key.disabled_at = timezone.now()
        key.save(update_fields=["disabled_at"])
    for invitation in row.invitations.filter(accepted_at=None, revoked_at=None):
        invitation_revoke(invitation=invitation)
    row.closed_at = timezone.now()
    row.keeps_responses = False
    row.save(update_fields=["closed_at", "keeps_responses"])
    for membership in row.memberships.select_related("organisation", "user"):
        membership.delete()
    catalog_changed.send(None)
    return row


def closing_check(organisation: Organisation) -> None:
    """``ValidationError`` for one that cannot be closed now."""
    if organisation.closed_at is not None:
        raise ValidationError(_("This organisation is closed already."))
    if organisation.slug.startswith(PLATFORM_PREFIX):
        raise ValidationError(_("This is one of the platform's own organisations: it stays."))
    if owed := owed_nano(organisation):
        raise ValidationError(
            _("It owes %(amount)s USD: pay that first, on its billing page.")
            % {"amount": format_usd(owed)}
        )


def _selling_end(organisation: Organisation, by: User) -> None:
    actor = Actor(Who.PROVIDER, by.email, by)
    for listing in listings_open(organisation):
        _retire(listing, actor)
    for deployment in deployments_open(organisation):
        deployment.status = DeploymentStatus.RETIRED
        deployment.save(update_fields=["status"])
    for name in pipelines_of(organisation).values_list("name", flat=True):
        pipeline_withdraw(name=name)


def _retire(listing: Listing, actor: Actor) -> None:
    first = TO_RETIRE.get(ListingState(listing.state))
    if first is not None:
        listing = listing_act(listing=listing, action=first, actor=actor)
    listing_act(listing=listing, action=ListingAction.RETIRE, actor=actor)


def _work_end(organisation: Organisation) -> None:
    for prediction in predictions_open(organisation):
        prediction_cancel(prediction=prediction)
    for batch in batches_open(organisation):
        batch_cancel(batch=batch)
    for agent in agents_of(organisation):
        agent_revoke(agent=agent)
    for token in tokens_of(organisation):
        worker_token_end(token)
    for endpoint in organisation.own_endpoints.all():
        own_endpoint_remove(endpoint=endpoint)


def _money_end(organisation: Organisation) -> None:
    for budget in organisation.budgets.all():
        budget_remove(budget=budget)
    # In this transaction, as no charge may follow it; Stripe forgets the card afterwards.
    for rule in AutoRecharge.objects.filter(organisation=organisation, enabled=True):
        rule.enabled = False
        rule.save(update_fields=["enabled"])
    if PaymentProfile.objects.filter(organisation=organisation).exists():
        transaction.on_commit(partial(card_forget, organisation=organisation))
