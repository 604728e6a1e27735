"""Mails staff about a new request for credit."""

from django.conf import settings
from django.core.mail import send_mail
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from marketplace.billing.credit.models import CreditRequest
from marketplace.billing.payments.books.money import usd_of_cents
from marketplace.catalog.prices import number_text


def staff_tell(made: CreditRequest) -> None:
    """Mail ``WAYPOST_STAFF_MAIL``, if set. Raises ``OSError`` if the mail server refuses."""
    if not settings.WAYPOST_STAFF_MAIL:
        return
    with translation.override(settings.LANGUAGE_CODE):
        values = {
            "organisation": " ".join(made.organisation.name.split()),
            "amount": number_text(usd_of_cents(made.amount_cents), 2),
            "who": made.requested_by or "",
            "reason": made.reason,
            "url": settings.WAYPOST_PUBLIC_URL + reverse("credit-requests"),
        }
        subject = _("%(organisation)s asks for %(amount)s US dollars of credit") % values
        body = _("%(who)s asks for %(organisation)s:\n\n%(reason)s\n\nAnswer at %(url)s\n") % values
        send_mail(subject, body, settings.DEFAULT_FROM_EMAIL, settings.WAYPOST_STAFF_MAIL)
