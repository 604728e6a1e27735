"""Issued invoices and payout statements. A database trigger refuses changes."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.billing.invoices.lines import Line, decode_lines
from marketplace.billing.invoices.months import Month


class StatementKind(models.TextChoices):
    INVOICE = "invoice", _("Invoice")
    PAYOUT = "payout", _("Payout statement")


class Statement(models.Model):
    """One account over one calendar month (UTC): a customer's invoice or a provider's earnings.

    ``closing_nano`` is ``opening_nano`` plus the amounts of all lines. ``lines`` holds
    :class:`~marketplace.billing.invoices.lines.Line` as JSON. Numbers count from 1 in each year of
    issue, without gaps.
    """

    kind = models.CharField(max_length=8, choices=StatementKind.choices)
    number = models.CharField(max_length=24, unique=True)
    year = models.PositiveSmallIntegerField()
    sequence = models.PositiveIntegerField()
    account = models.ForeignKey(
        "billing.Account", on_delete=models.PROTECT, related_name="statements"
    )
    period = models.DateField(help_text=_("The first day of the month."))
    issuer = models.CharField(max_length=200)
    holder = models.CharField(max_length=200)
    currency = models.CharField(max_length=3)
    opening_nano = models.BigIntegerField()
    closing_nano = models.BigIntegerField()
    lines = models.JSONField()
    issued_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "period"], name="billing_statement_once"),
            models.UniqueConstraint(
                fields=["kind", "year", "sequence"], name="billing_statement_number_once"
            ),
            models.CheckConstraint(
                condition=models.Q(period__day=1), name="billing_statement_period_is_a_month"
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def month(self) -> Month:
        return Month.of(self.period)

    @property
    def entries(self) -> tuple[Line, ...]:
        """The lines, typed."""
        return decode_lines(self.lines)

    @property
    def charges_nano(self) -> int:
        """The sum of charges, not negative: spent by a customer, earned by a provider."""
        return abs(sum(line.amount_nano for line in self.entries if line.is_charge))
