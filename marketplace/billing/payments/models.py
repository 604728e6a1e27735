"""What Stripe and staff did, each as a row, and the transfers that it caused."""

import uuid

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.payments.books.money import nano_of_cents


class PaymentProfile(models.Model):
    """An organisation's Stripe customer, and the kept card for auto-recharge."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.OneToOneField(
        Organisation, on_delete=models.PROTECT, related_name="payment_profile"
    )
    customer_id = models.CharField(max_length=255, unique=True, null=True)
    payment_method_id = models.CharField(max_length=255, blank=True)

    def __str__(self) -> str:
        return f"{self.organisation}: {self.customer_id or '–'}"


class PaymentPurpose(models.TextChoices):
    TOPUP = "topup", _("Top-up")
    RECHARGE = "recharge", _("Auto-recharge")


class PaymentState(models.TextChoices):
    PENDING = "pending", _("Waiting for Stripe")
    SUCCEEDED = "succeeded", _("Received")
    FAILED = "failed", _("Failed")
    EXPIRED = "expired", _("Not finished in time")


class Payment(models.Model):
    """An intended payment of an organisation. Only Stripe's report makes it ``succeeded``.

    ``payment_method_id`` is the kept card of an auto-recharge. ``asked_at`` is when Stripe was last
    asked about a Checkout without an event.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="payments"
    )
    purpose = models.CharField(max_length=10, choices=PaymentPurpose.choices)
    state = models.CharField(
        max_length=10, choices=PaymentState.choices, default=PaymentState.PENDING
    )
    amount_cents = models.PositiveBigIntegerField()
    session_id = models.CharField(max_length=255, unique=True, null=True)
    intent_id = models.CharField(max_length=255, unique=True, null=True)
    payment_method_id = models.CharField(max_length=255, blank=True)
    failure = models.TextField(blank=True)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    concluded_at = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_cents__gt=0), name="billing_payment_amount_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=PaymentState.values),
                name="billing_payment_state_known",
            ),
            models.UniqueConstraint(
                fields=["organisation"],
                condition=models.Q(purpose="recharge", state="pending"),
                name="billing_payment_one_recharge_in_flight",
            ),
        ]

    def __str__(self) -> str:
        return f"payment {self.pk}"

    @property
    def amount_nano(self) -> int:
        return nano_of_cents(self.amount_cents)


class RefundState(models.TextChoices):
    """The states in order; a failed refund gives the credit back."""

    REQUESTED = "requested", _("Requested")
    PENDING = "pending", _("Under way")
    SUCCEEDED = "succeeded", _("Refunded")
    FAILED = "failed", _("Failed")


class Refund(models.Model):
    """A refund of all or part of a payment; ``stripe_id`` is set once Stripe has it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    stripe_id = models.CharField(max_length=255, unique=True, null=True, editable=False)
    amount_cents = models.PositiveBigIntegerField()
    state = models.CharField(
        max_length=10, choices=RefundState.choices, default=RefundState.REQUESTED, editable=False
    )
    reason = models.TextField()
    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    failure = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_cents__gt=0), name="billing_refund_amount_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=RefundState.values), name="billing_refund_state_known"
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id or f"refund {self.pk}"

    @property
    def amount_nano(self) -> int:
        return nano_of_cents(self.amount_cents)

    @property
    def is_out(self) -> bool:
        """Whether Stripe takes or has taken the amount."""
        return self.state in {RefundState.PENDING, RefundState.SUCCEEDED}


class DisputeState(models.TextChoices):
    """The states in order. A bank's inquiry takes no money."""

    INQUIRY = "inquiry", _("Inquiry")
    OPEN = "open", _("Open")
    LOST = "lost", _("Lost")
    WON = "won", _("Won")


class Dispute(models.Model):
    """A cardholder's bank takes a payment back; only a won dispute returns it."""

    stripe_id = models.CharField(max_length=255, unique=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    amount_cents = models.PositiveBigIntegerField()
    state = models.CharField(
        max_length=10, choices=DisputeState.choices, default=DisputeState.INQUIRY
    )
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=DisputeState.values),
                name="billing_dispute_state_known",
            )
        ]

    def __str__(self) -> str:
        return self.stripe_id

    @property
    def amount_nano(self) -> int:
        return nano_of_cents(self.amount_cents)

    @property
    def is_out(self) -> bool:
        """Whether the bank has the amount."""
        return self.state in {DisputeState.OPEN, DisputeState.LOST}


class PaymentTransfer(models.Model):
    """The payment, and its refund or dispute, that caused a transfer."""

    transfer = models.OneToOneField(
        "billing.Transfer", on_delete=models.PROTECT, primary_key=True, related_name="payment_link"
    )
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="links")
    refund = models.ForeignKey(Refund, on_delete=models.PROTECT, null=True, related_name="links")
    dispute = models.ForeignKey(Dispute, on_delete=models.PROTECT, null=True, related_name="links")

    def __str__(self) -> str:
        return f"transfer {self.transfer_id} of payment {self.payment_id}"


class EventVerdict(models.TextChoices):
    APPLIED = "applied", _("Applied")
    IGNORED = "ignored", _("Ignored")
    UNKNOWN = "unknown", _("About a payment that is not ours")


class StripeEvent(models.Model):
    """A received Stripe event and its verdict. Each id is stored once."""

    event_id = models.CharField(max_length=255, primary_key=True)
    kind = models.CharField(max_length=100)
    verdict = models.CharField(max_length=10, choices=EventVerdict.choices)
    created_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        ordering = ["-received_at"]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"


class AutoRecharge(models.Model):
    """The rule to charge the kept card when credit runs low, up to a cap a calendar month (UTC)."""

    organisation = models.OneToOneField(
        Organisation, on_delete=models.PROTECT, primary_key=True, related_name="auto_recharge"
    )
    enabled = models.BooleanField(default=False)
    threshold_cents = models.PositiveBigIntegerField()
    amount_cents = models.PositiveBigIntegerField()
    cap_cents = models.PositiveBigIntegerField()
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    failure = models.TextField(blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    changed_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.organisation}: {'on' if self.enabled else 'off'}"

    @property
    def threshold_nano(self) -> int:
        return nano_of_cents(self.threshold_cents)


class StaffTransfer(models.Model):
    """A transfer ordered by a person of the staff, with the reason.

    It is a grant, write-off, payout or reversal. ``organisation`` is the customer whose account
    moved; None for a payout.
    """

    transfer = models.OneToOneField(
        "billing.Transfer", on_delete=models.PROTECT, primary_key=True, related_name="staff_order"
    )
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, null=True, related_name="staff_transfers"
    )
    reason = models.TextField()
    ordered_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["-transfer_id"]

    def __str__(self) -> str:
        return f"{self.organisation}: {self.reason}" if self.organisation else self.reason


class SystemOrder(models.Model):
    """A transfer ordered by a rule of the platform, by the rule's name."""

    transfer = models.OneToOneField(
        "billing.Transfer", on_delete=models.PROTECT, primary_key=True, related_name="system_order"
    )
    rule = models.CharField(max_length=100)
    reason = models.TextField()

    class Meta:
        ordering = ["-transfer_id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(rule__startswith="system: "), name="billing_systemorder_named"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}"
