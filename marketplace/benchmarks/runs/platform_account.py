"""The platform's own organisation, which pays for benchmarks through the router."""

import math
import time

from django.conf import settings
from django.db import transaction

from marketplace.accounts.models import Organisation
from marketplace.billing.services import (
    credit_grant,
    customer_account_open,
    system_accounts_open,
)
from router.domain.keys import SessionClaims, sign_session
from router.domain.money import NANO_PER_USD

ORGANISATION = "waypost-benchmarks"
CREDIT_NANO = 20 * NANO_PER_USD
CREDIT_NANO_MIN = 5 * NANO_PER_USD


@transaction.atomic
def bearer_issue(*, reference: str, ttl_s: float) -> str:
    """A bearer for the router, valid for ``ttl_s`` seconds; the platform pays for its calls.

    Providers earn as with any caller. Low credit is topped up, once for each ``reference``.
    """
    system_accounts_open()
    organisation, _ = Organisation.objects.get_or_create(
        slug=ORGANISATION, defaults={"name": "Waypost benchmarks"}
    )
    account = customer_account_open(organisation=organisation)
    if account.posted_nano < CREDIT_NANO_MIN:
        credit_grant(
            organisation=organisation,
            amount_nano=CREDIT_NANO,
            rule="system: benchmarks",
            reason=f"The platform pays for benchmark {reference}.",
            idem_key=f"grant:benchmarks:{reference}",
        )
    claims = SessionClaims(
        organisation_id=organisation.pk,
        account_id=account.pk,
        user_id=0,
        expires_at_s=math.ceil(time.time() + ttl_s),
    )
    return sign_session(claims, settings.WAYPOST_KEY_PEPPER)
