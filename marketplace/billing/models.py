"""The ledger's tables, read-only for Django. ``ledger/`` holds the functions that write.

A transfer is one row with both sides, so that no imbalance can be written. ``posted_nano`` and
``held_nano`` are caches over transfers and open leases; triggers refuse direct writes.
"""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import ApiKey, Organisation
from marketplace.billing.credit.models import CreditRequest as CreditRequest
from marketplace.billing.credit.models import TrialGrant as TrialGrant
from marketplace.billing.invoices.models import Statement as Statement
from marketplace.billing.payments.models import (
    AutoRecharge,
    Dispute,
    Payment,
    PaymentProfile,
    PaymentTransfer,
    Refund,
    StaffTransfer,
    StripeEvent,
    SystemOrder,
)
from marketplace.billing.seals.models import Seal, SealedSum
from marketplace.catalog.models import Provider

__all__ = [
    "SYSTEM_KINDS",
    "Account",
    "AccountKind",
    "AutoRecharge",
    "Dispute",
    "Lease",
    "Payment",
    "PaymentProfile",
    "PaymentTransfer",
    "ReconciliationReport",
    "Refund",
    "Seal",
    "SealedSum",
    "StaffTransfer",
    "StripeEvent",
    "SystemOrder",
    "Transfer",
    "TransferKind",
]


class AccountKind(models.TextChoices):
    CUSTOMER = "customer", _("Customer")
    PROVIDER = "provider", _("Provider's earnings")
    COMMISSION = "commission", _("Platform commission")
    CASH = "cash", _("Cash received")
    EXPENSE = "expense", _("Platform expense")
    GRANTS = "grants", _("Credit granted")
    PAYOUTS = "payouts", _("Paid out to providers")
    RECEIVABLE = "receivable", _("Owed by a customer")


SYSTEM_KINDS = (
    AccountKind.COMMISSION,
    AccountKind.CASH,
    AccountKind.EXPENSE,
    AccountKind.GRANTS,
    AccountKind.PAYOUTS,
)
"""Kinds with one account each. Money enters through cash and grants, so these go below zero."""
OVERDRAFT_KINDS = (AccountKind.CASH, AccountKind.EXPENSE, AccountKind.GRANTS)
"""Kinds that may go below zero. A receivable may too, and never goes above."""


class Account(models.Model):
    """An account, in nano-USD. ``posted_nano - held_nano`` is available."""

    kind = models.CharField(max_length=12, choices=AccountKind.choices)
    organisation = models.OneToOneField(
        Organisation,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="billing_account",
    )
    provider = models.OneToOneField(
        Provider, on_delete=models.PROTECT, null=True, blank=True, related_name="billing_account"
    )
    debtor = models.OneToOneField(
        Organisation, on_delete=models.PROTECT, null=True, blank=True, related_name="debt_account"
    )
    currency = models.CharField(max_length=3, default="USD", editable=False)
    posted_nano = models.BigIntegerField(default=0, db_default=0, editable=False)
    held_nano = models.BigIntegerField(default=0, db_default=0, editable=False)
    overdraft = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(held_nano__gte=0), name="billing_account_held_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(overdraft=True)
                | models.Q(posted_nano__gte=models.F("held_nano")),
                name="billing_account_not_overdrawn",
            ),
            models.CheckConstraint(
                condition=(
                    models.Q(
                        kind="customer",
                        organisation__isnull=False,
                        provider__isnull=True,
                        debtor__isnull=True,
                    )
                    | models.Q(
                        kind="provider",
                        organisation__isnull=True,
                        provider__isnull=False,
                        debtor__isnull=True,
                    )
                    | models.Q(
                        kind="receivable",
                        organisation__isnull=True,
                        provider__isnull=True,
                        debtor__isnull=False,
                        posted_nano__lte=0,
                    )
                    | models.Q(
                        kind__in=[str(kind) for kind in SYSTEM_KINDS],
                        organisation__isnull=True,
                        provider__isnull=True,
                        debtor__isnull=True,
                    )
                ),
                name="billing_account_owner_fits_kind",
            ),
            models.CheckConstraint(
                condition=models.Q(overdraft=False)
                | models.Q(
                    kind__in=[str(kind) for kind in (*OVERDRAFT_KINDS, AccountKind.RECEIVABLE)]
                ),
                name="billing_account_overdraft_fits_kind",
            ),
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(kind__in=[str(kind) for kind in SYSTEM_KINDS]),
                name="billing_account_one_of_each_system_kind",
            ),
        ]

    def __str__(self) -> str:
        owner = self.organisation or self.provider or self.debtor or "Waypost"
        return f"{self.get_kind_display()}: {owner}"

    @property
    def available_nano(self) -> int:
        return self.posted_nano - self.held_nano


class TransferKind(models.TextChoices):
    TOPUP = "topup", _("Top-up")
    GRANT = "grant", _("Grant")
    CHARGE_PROVIDER = "charge_provider", _("Charge, provider's part")
    CHARGE_COMMISSION = "charge_commission", _("Charge, commission")
    REVERSAL = "reversal", _("Reversal")
    COVER = "cover", _("Covered by the platform")
    PAYOUT = "payout", _("Payout")
    REFUND = "refund", _("Refund")
    REFUND_RETURN = "refund_return", _("Refund that failed")
    DISPUTE = "dispute", _("Dispute")
    DISPUTE_RETURN = "dispute_return", _("Dispute won")
    DEBT_PAYMENT = "debt_payment", _("Payment of a debt")
    WRITE_OFF = "write_off", _("Debt written off")


CHARGE_KINDS = (TransferKind.CHARGE_PROVIDER, TransferKind.CHARGE_COMMISSION)


class Transfer(models.Model):
    """Money from ``debit`` (goes down) to ``credit`` (goes up). Never changed, never deleted.

    Triggers check once a statement that both accounts exist and stay. Foreign keys would check
    each row, a sixth of the cost of a settlement.
    """

    debit = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="debits", db_constraint=False
    )
    credit = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="credits", db_constraint=False
    )
    amount_nano = models.BigIntegerField()
    idem_key = models.TextField()
    kind = models.CharField(max_length=20, choices=TransferKind.choices)
    request_id = models.UUIDField(null=True, db_index=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [
            BrinIndex(fields=["created_at"], name="billing_transfer_by_time"),
            # For the proof of causes: one transfer in a thousand is not of a call.
            models.Index(
                fields=["id"],
                condition=~models.Q(
                    kind__in=[str(kind) for kind in CHARGE_KINDS], request_id__isnull=False
                ),
                name="billing_transfer_of_no_call",
            ),
        ]
        constraints = [
            # `unique=True` would add a second index for LIKE.
            models.UniqueConstraint(fields=["idem_key"], name="billing_transfer_once"),
            models.CheckConstraint(
                condition=models.Q(amount_nano__gt=0), name="billing_transfer_amount_positive"
            ),
            models.CheckConstraint(
                condition=~models.Q(debit=models.F("credit")), name="billing_transfer_two_accounts"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=TransferKind.values), name="billing_transfer_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"transfer {self.pk}"

    @property
    def reference(self) -> str:
        """The sender's reference: the payment, the reversed transfer or the payout."""
        return self.idem_key.partition(":")[2]


class PayoutManager(models.Manager["Payout"]):
    def get_queryset(self) -> models.QuerySet["Payout"]:
        return super().get_queryset().filter(kind=TransferKind.PAYOUT)


class Payout(Transfer):
    """Money sent to a provider from its earnings: a transfer to the payouts account."""

    objects: ClassVar[PayoutManager] = PayoutManager()

    class Meta:
        proxy = True


class LeaseState(models.TextChoices):
    OPEN = "open", _("Open")
    CLOSED = "closed", _("Closed")


class Window(models.TextChoices):
    """The window after which a budget's spending starts at zero (UTC; weeks begin on Monday)."""

    EVER = "ever", _("Never")
    DAY = "day", _("Every day")
    WEEK = "week", _("Every week")
    MONTH = "month", _("Every month")


class Budget(models.Model):
    """A cap on what an organisation, one of its members or one of its keys may spend in a window.

    ``held_nano`` is leased to routers; ``spent_nano`` was charged since ``window_starts_at``. Only
    leases change both. ``before_nano`` is the part of ``spent_nano`` charged before the budget was
    made. A member's budget counts their keys too.
    """

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="budgets")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="budgets",
    )
    key = models.OneToOneField(
        ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="budget"
    )
    limit_nano = models.BigIntegerField()
    window = models.CharField(max_length=5, choices=Window.choices, default=Window.MONTH)
    window_starts_at = models.DateTimeField(db_default=Now(), editable=False)
    spent_nano = models.BigIntegerField(default=0, db_default=0, editable=False)
    held_nano = models.BigIntegerField(default=0, db_default=0, editable=False)
    before_nano = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["organisation", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(limit_nano__gte=0), name="billing_budget_limit_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(held_nano__gte=0, spent_nano__gte=0),
                name="billing_budget_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(user__isnull=True) | models.Q(key__isnull=True),
                name="billing_budget_of_one",
            ),
            models.CheckConstraint(
                condition=models.Q(window__in=Window.values), name="billing_budget_window_known"
            ),
            models.UniqueConstraint(
                fields=["organisation", "user"],
                condition=models.Q(key__isnull=True),
                nulls_distinct=False,
                name="billing_budget_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"budget of {self.key or self.user or self.organisation}"


class Lease(models.Model):
    """A part of an account's credit that one router may spend without asking.

    It belongs to one ``life`` of the router, from start to end, and counts in ``budgets``.
    """

    id = models.UUIDField(primary_key=True)
    router_id = models.TextField()
    life = models.TextField(default="")
    budgets = ArrayField(models.BigIntegerField(), default=list)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="leases")
    amount_nano = models.BigIntegerField()
    spent_nano = models.BigIntegerField(db_default=0)
    state = models.CharField(max_length=8, choices=LeaseState.choices, db_default=LeaseState.OPEN)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["router_id"], condition=models.Q(state="open"), name="billing_lease_open"
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(spent_nano__gte=0, spent_nano__lte=models.F("amount_nano")),
                name="billing_lease_spent_within_amount",
            )
        ]

    def __str__(self) -> str:
        return f"lease {self.pk}"


class WriteOff(models.Model):
    """A record that a person closed the leases of a lost router. Never changed.

    ``amount_nano`` is what they held. Customers get it back, and it is the most that the router's
    unsettled calls can cost the platform.
    """

    router_id = models.TextField()
    reason = models.TextField()
    by = models.CharField(max_length=150)
    leases = models.PositiveIntegerField()
    amount_nano = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.router_id}, {self.created_at:%Y-%m-%d %H:%M}"


class ReconciliationReport(models.Model):
    """The result of one run of the ledger's proof; ``gaps`` is empty if the books are right.

    ``whole`` is a proof from the first transfer on; others begin after the last seal.
    """

    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    whole = models.BooleanField(default=False, db_default=False)
    transfers = models.BigIntegerField()
    accounts = models.IntegerField()
    gaps = models.JSONField(default=list)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M}: {len(self.gaps)} gaps"

    @property
    def is_balanced(self) -> bool:
        return not self.gaps
