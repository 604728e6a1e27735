"""What an organisation has that ends when it closes, and what closing means, in sentences."""

from dataclasses import dataclass

from django.db.models import QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from marketplace.accounts.models import Organisation
from marketplace.agents.access import pools_run_by
from marketplace.agents.models import Agent, WorkerToken
from marketplace.batches.models import STATUSES_OPEN, Batch
from marketplace.billing.models import Account
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.catalog.models import Deployment, DeploymentStatus, Pool
from marketplace.pipelines.models import Pipeline
from marketplace.predictions.models import Prediction
from marketplace.providers.listings.states import ListingState
from marketplace.providers.models import Listing
from marketplace.shared.jobs.models import STATES_OPEN
from router.domain.money import format_usd


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing it means now: its money, in nano-USD, and sentences ``effects``."""

    balance_nano: int
    owed_nano: int
    earned_nano: int
    effects: list[str]


def closing_of(organisation: Organisation) -> Closing:
    """What closing means, before anybody does it."""
    account = Account.objects.filter(organisation=organisation).first()
    earned = Account.objects.filter(provider__organisation=organisation)
    balance_nano = account.posted_nano if account else 0
    earned_nano = earned.aggregate(total=Sum("posted_nano", default=0))["total"]
    return Closing(
        balance_nano=balance_nano,
        owed_nano=owed_nano(organisation),
        earned_nano=earned_nano,
        effects=[
            *_ending(organisation),
            *_money(balance_nano, earned_nano),
            _(
                "Charges, invoices and the audit log stay on record with the platform. You cannot "
                "open them any more: download what you need first."
            ),
            _("Its short name %(slug)s is not given away again.") % {"slug": organisation.slug},
        ],
    )


def listings_open(organisation: Organisation) -> QuerySet[Listing]:
    """Listings that are not retired."""
    rows = Listing.objects.filter(provider__organisation=organisation)
    return rows.exclude(state=ListingState.RETIRED).order_by("pk")


def deployments_open(organisation: Organisation) -> QuerySet[Deployment]:
    """Deployments that are not retired."""
    rows = Deployment.objects.filter(provider__organisation=organisation)
    return rows.exclude(status=DeploymentStatus.RETIRED).order_by("pk")


def pipelines_of(organisation: Organisation) -> QuerySet[Pipeline]:
    """Its pipelines that can be called."""
    return Pipeline.objects.filter(organisation=organisation, published=True).order_by("name")


def predictions_open(organisation: Organisation) -> QuerySet[Prediction]:
    """Predictions that wait or run."""
    rows = Prediction.objects.filter(organisation=organisation, state__in=STATES_OPEN)
    return rows.select_related("model", "pipeline").order_by("pk")


def batches_open(organisation: Organisation) -> QuerySet[Batch]:
    """Batches that wait or run."""
    return Batch.objects.filter(organisation=organisation, status__in=STATUSES_OPEN).order_by("pk")


def agents_of(organisation: Organisation) -> QuerySet[Agent]:
    """Agents of the pools that it alone sells on."""
    return Agent.objects.filter(pool__in=_pools(organisation), revoked_at=None).order_by("pk")


def tokens_of(organisation: Organisation) -> QuerySet[WorkerToken]:
    """Tokens by which agents may join those pools."""
    rows = WorkerToken.objects.filter(pool__in=_pools(organisation))
    return rows.filter(expires_at__gt=timezone.now()).order_by("pk")


def _pools(organisation: Organisation) -> QuerySet[Pool]:
    return pools_run_by(Organisation.objects.filter(pk=organisation.pk)).order_by()


def _ending(organisation: Organisation) -> list[str]:
    """Sentences on what ends; none on what there is none of."""
    keys = organisation.api_keys.filter(disabled_at=None).count()
    members = organisation.memberships.count()
    sold = deployments_open(organisation).count()
    work = predictions_open(organisation).count() + batches_open(organisation).count()
    own = organisation.own_endpoints.count()
    told = [
        (
            members,
            ngettext(
                "%(n)s member loses access within two seconds.",
                "%(n)s members lose access within two seconds.",
                members,
            ),
        ),
        (
            keys,
            ngettext(
                "%(n)s key is revoked. Calls that run end as usual, and are charged.",
                "%(n)s keys are revoked. Calls that run end as usual, and are charged.",
                keys,
            ),
        ),
        (
            sold,
            ngettext(
                "%(n)s deployment is withdrawn from sale for good.",
                "%(n)s deployments are withdrawn from sale for good.",
                sold,
            ),
        ),
        (
            work,
            ngettext(
                "%(n)s prediction or batch that waits or runs is cancelled.",
                "%(n)s predictions and batches that wait or run are cancelled.",
                work,
            ),
        ),
        (
            own,
            ngettext(
                "%(n)s endpoint of your own is removed, and its key is forgotten.",
                "%(n)s endpoints of your own are removed, and their keys are forgotten.",
                own,
            ),
        ),
    ]
    return [sentence % {"n": n} for n, sentence in told if n]


def _money(balance_nano: int, earned_nano: int) -> list[str]:
    told = [_("Auto-recharge ends, and the saved card is forgotten.")]
    if balance_nano:
        told.append(
            _(
                "The credit of %(amount)s USD cannot be used any more. Ask the platform's staff to "
                "refund payments: they can do it before and after."
            )
            % {"amount": format_usd(balance_nano)}
        )
    if earned_nano:
        told.append(
            _(
                "%(amount)s USD that you earned and that are not paid out stay yours: the "
                "platform's staff pay them out."
            )
            % {"amount": format_usd(earned_nano)}
        )
    return told
