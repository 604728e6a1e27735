"""Calls that were refused before they ran: counted by routers, not in the ledger."""

from django.db import models


class Refusal(models.Model):
    """How many calls of a key or member a router refused in an hour (UTC), and why.

    ``code`` is the error's code; ``model`` is "" for a name that no model has. Written by
    ``usage_refusals_add``.
    """

    pk = models.CompositePrimaryKey(
        "organisation_id", "starts_at", "key_id", "user_id", "model", "code"
    )
    organisation_id = models.BigIntegerField()
    starts_at = models.DateTimeField()
    key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    model = models.TextField()
    code = models.TextField()
    calls = models.BigIntegerField()

    class Meta:
        db_table = "usage_refusal"
        indexes = [models.Index(fields=["starts_at"], name="usage_refusal_by_time")]

    def __str__(self) -> str:
        return f"{self.code}, hour of {self.starts_at:%Y-%m-%d %H:%M}"
