"""What a proof may start from: sealed ranges of transfers, and their sums."""

from django.db import models
from django.db.models.functions import Now


class Seal(models.Model):
    """Transfers after the previous seal's ``through``, up to and with this one's. Never changed.

    ``digest`` is the SHA-256 of the previous digest and these transfers, ``sums`` that of
    `SealedSum` as this seal left it. ``signature`` is made with a key that the database has not.
    """

    through = models.BigIntegerField(unique=True)
    transfers = models.BigIntegerField()
    digest = models.BinaryField()
    sums = models.BinaryField()
    signature = models.BinaryField(db_default=b"")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"seal {self.pk}"


class SealedSum(models.Model):
    """What all sealed transfers of a month (UTC) moved on an account."""

    account = models.ForeignKey(
        "billing.Account", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    month = models.DateField()
    amount_nano = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "month"], name="billing_sealed_sum_once"),
        ]

    def __str__(self) -> str:
        return f"{self.account}, {self.month:%Y-%m}"
