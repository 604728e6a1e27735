"""Months with calls and payments, and their statements."""

from django.utils import timezone

from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statement_issue
from marketplace.billing.models import Account, AccountKind, Transfer, TransferKind
from marketplace.billing.services import transfer_post
from marketplace.catalog.models import Offer
from marketplace.catalog.services import offer_publish
from router.domain.money import commission_nano
from router.domain.pricing import Price, Usage, charge_nano
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

THIS_MONTH = Month.of(timezone.now())


def topped_up(shop: Shop, amount_nano: int, reference: str) -> Transfer:
    """As a payment does once it was received."""
    return transfer_post(
        debit=Account.objects.get(kind=AccountKind.CASH),
        credit=shop.customer_account,
        amount_nano=amount_nano,
        idem_key=f"topup:{reference}",
        kind=TransferKind.TOPUP,
    )


def offer_of(shop: Shop, **price: int) -> Offer:
    return offer_publish(deployment=shop.deployment, price=Price(id=0, **price))


def settle_call(shop: Shop, offer: Offer, **used: int) -> int:
    """A call charged by this price; returns the charge."""
    prices = {name: getattr(offer, name) for name in Price.__struct_fields__ if "_nano" in name}
    charge = charge_nano(Price(offer.pk, **prices), Usage(**used))
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            price_id=offer.pk,
            charge_nano=charge,
            commission_nano=commission_nano(charge, 1_000),
            **used,
        )
    )
    return charge


def issue(account: Account, month: Month) -> Statement:
    issued = statement_issue(account=account, month=month)
    assert issued is not None
    return issued
