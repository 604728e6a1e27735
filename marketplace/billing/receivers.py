"""Billing's reactions to new rows in the apps below, in the same transaction."""

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.signals import organisation_founded
from marketplace.billing.credit.services import trial_grant
from marketplace.billing.services import customer_account_open, provider_account_open
from marketplace.catalog.models import Provider


@receiver(post_save, sender=Organisation)
def _open_customer_account(instance: Organisation, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        customer_account_open(organisation=instance)


@receiver(post_save, sender=Provider)
def _open_provider_account(instance: Provider, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        provider_account_open(provider=instance)


@receiver(organisation_founded)
def _grant_trial(organisation: Organisation, founder: User, **_: Any) -> None:
    trial_grant(organisation=organisation, founder=founder)
