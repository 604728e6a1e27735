"""One row a call, inserted by ``billing_settle`` together with its money and by nobody else.

The router's word is final: a call that ran is recorded even when a row it names is gone, so the
references are plain numbers and names. Fields mirror :class:`router.contracts.record.UsageRecord`.
"""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from router.domain.outcome import Outcome

OUTCOMES: dict[str, object] = {
    Outcome.COMPLETED: _("Completed"),
    Outcome.CLIENT_GONE: _("Client left"),
    Outcome.TRUNCATED: _("Cut short"),
    Outcome.REFUSED: _("Refused"),
    Outcome.REJECTED: _("Not run"),
    Outcome.WORKER_FAILED: _("Worker failed"),
}
"""How a call ended, in a word or two for people, by the record's own word."""


class UsageEvent(models.Model):
    request_id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(db_default=Now())
    router_id = models.TextField()
    lease_id = models.UUIDField(null=True)
    account_id = models.BigIntegerField()
    organisation_id = models.BigIntegerField()
    key_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    model = models.TextField()
    kind = models.TextField()
    outcome = models.TextField()
    http_status = models.IntegerField()
    streamed = models.BooleanField()
    finish_reason = models.TextField()
    deployment_id = models.BigIntegerField()
    price_id = models.BigIntegerField()
    provider_account_id = models.BigIntegerField()
    worker_id = models.TextField()
    pool = models.TextField()
    hold_nano = models.BigIntegerField()
    charge_nano = models.BigIntegerField()
    commission_nano = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    rows = models.BigIntegerField()
    images = models.BigIntegerField()
    queue_ms = models.FloatField()
    ttft_ms = models.FloatField()
    upstream_ms = models.FloatField()
    total_ms = models.FloatField()
    attempts = models.JSONField()
    candidates = models.JSONField()

    class Meta:
        db_table = "usage_event"
        ordering = ["-created_at", "-request_id"]
        indexes = [
            models.Index(fields=["organisation_id", "-created_at"], name="usage_by_organisation"),
            models.Index(fields=["-created_at"], name="usage_by_time"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)

    @property
    def outcome_label(self) -> str:
        return str(OUTCOMES.get(self.outcome, self.outcome))

    @property
    def tokens_total(self) -> int:
        return (
            self.prompt_tokens + self.cached_tokens + self.completion_tokens + self.reasoning_tokens
        )
