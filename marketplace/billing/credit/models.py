"""The causes of free credit. The money itself is in transfers."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.billing.payments.models import StaffTransfer


class TrialGrant(models.Model):
    """The trial credit of a new organisation, by a platform setting; once for each founder."""

    transfer = models.OneToOneField(
        "billing.Transfer", on_delete=models.PROTECT, primary_key=True, related_name="trial"
    )
    organisation = models.OneToOneField(
        Organisation, on_delete=models.PROTECT, related_name="trial_grant"
    )
    founder = models.OneToOneField(User, on_delete=models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return f"{self.organisation}: trial credit"


class CreditRequestState(models.TextChoices):
    OPEN = "open", _("Pending")
    GRANTED = "granted", _("Granted")
    DECLINED = "declined", _("Declined")


class CreditRequest(models.Model):
    """A member's request for credit. A granted one names the order that moved the money."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="credit_requests"
    )
    amount_cents = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=500)
    requested_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(
        max_length=8, choices=CreditRequestState.choices, default=CreditRequestState.OPEN
    )
    answered_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    answered_at = models.DateTimeField(null=True, blank=True)
    order = models.OneToOneField(
        StaffTransfer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="credit_request",
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation"],
                condition=models.Q(state="open"),
                name="billing_creditrequest_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(state="granted", order__isnull=False)
                | (~models.Q(state="granted") & models.Q(order__isnull=True)),
                name="billing_creditrequest_granted_by_order",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organisation}: {self.amount_cents} cents, {self.state}"

    @property
    def amount_nano(self) -> int:
        return nano_of_cents(self.amount_cents)
