"""Answers to signals of the apps below."""

from typing import Any

from django.dispatch import receiver
from django.utils.translation import gettext as _

from marketplace.accounts.models import Membership
from marketplace.accounts.signals import leaving_asked
from marketplace.usage.selectors import calls_lately, calls_lately_text


@receiver(leaving_asked)
def _calls_made(membership: Membership, **_kwargs: Any) -> str:
    calls = calls_lately(organisation_id=membership.organisation_id, user_id=membership.user_id)
    return _("They made:") + " " + calls_lately_text(calls)
