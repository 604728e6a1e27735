"""The ledger as Django sees it: read-only. ``sql/ledger.sql`` holds the rules and the writers.

A transfer is one row with both sides, so that an imbalance cannot be written. ``posted_nano`` and
``held_nano`` are caches over transfers and open leases; a trigger refuses any other hand on them.
"""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation
from marketplace.catalog.models import Provider


class AccountKind(models.TextChoices):
    CUSTOMER = "customer", _("Customer")
    PROVIDER = "provider", _("Provider's earnings")
    COMMISSION = "commission", _("Platform commission")
    CASH = "cash", _("Cash received")
    EXPENSE = "expense", _("Platform expense")
    GRANTS = "grants", _("Credit granted")


SYSTEM_KINDS = (
    AccountKind.COMMISSION,
    AccountKind.CASH,
    AccountKind.EXPENSE,
    AccountKind.GRANTS,
)
"""One account each; money enters through cash and grants, which therefore go below zero."""
OVERDRAFT_KINDS = frozenset({AccountKind.CASH, AccountKind.EXPENSE, AccountKind.GRANTS})


class Account(models.Model):
    """Amounts in nano-USD. What may be spent is ``posted_nano - held_nano``."""

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
                    models.Q(kind="customer", organisation__isnull=False, provider__isnull=True)
                    | models.Q(kind="provider", organisation__isnull=True, provider__isnull=False)
                    | models.Q(
                        kind__in=[str(kind) for kind in SYSTEM_KINDS],
                        organisation__isnull=True,
                        provider__isnull=True,
                    )
                ),
                name="billing_account_owner_fits_kind",
            ),
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(kind__in=[str(kind) for kind in SYSTEM_KINDS]),
                name="billing_account_one_of_each_system_kind",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.organisation or self.provider or 'Switchyard'}"

    @property
    def available_nano(self) -> int:
        return self.posted_nano - self.held_nano


class TransferKind(models.TextChoices):
    TOPUP = "topup", _("Top-up")
    GRANT = "grant", _("Grant")
    CHARGE_PROVIDER = "charge_provider", _("Charge, provider's part")
    CHARGE_COMMISSION = "charge_commission", _("Charge, commission")
    REVERSAL = "reversal", _("Reversal")


class Transfer(models.Model):
    """Money from ``debit`` (goes down) to ``credit`` (goes up). Never changed, never deleted."""

    debit = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="debits")
    credit = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="credits")
    amount_nano = models.BigIntegerField()
    idem_key = models.TextField(unique=True)
    kind = models.CharField(max_length=20, choices=TransferKind.choices)
    request_id = models.UUIDField(null=True, db_index=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
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


class LeaseState(models.TextChoices):
    OPEN = "open", _("Open")
    CLOSED = "closed", _("Closed")


class Lease(models.Model):
    """A slice of an account's credit that one router may spend without asking."""

    id = models.UUIDField(primary_key=True)
    router_id = models.TextField()
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


class ReconciliationReport(models.Model):
    """What one run of the ledger's proof found; ``gaps`` is empty when the books are right."""

    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
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
