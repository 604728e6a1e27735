"""Signing secrets, deliveries with their attempts, and endpoints that asked for no more."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation

URL_MAX = 1_000
EVENT_ID_MAX = 120


class WebhookSecret(models.Model):
    """What an organisation's webhooks are signed with. It is kept sealed: see
    :mod:`marketplace.shared.sealing`.

    One has no ``expires_at``. The one that it replaced signs too until it expires.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="webhook_secrets"
    )
    sealed = models.TextField(editable=False)
    masked = models.CharField(max_length=32, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organisation"],
                condition=models.Q(expires_at=None),
                name="webhook_secret_one_lasts",
            )
        ]

    def __str__(self) -> str:
        return self.masked


class DisabledEndpoint(models.Model):
    """A URL that answered 410: this organisation sends nothing there until a resend is heard."""

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="disabled_endpoints"
    )
    url = models.CharField(max_length=URL_MAX)
    disabled_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "url"], name="webhook_endpoint_disabled_once"
            )
        ]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    """Waiting, then one of the others; a resend makes it wait again."""

    WAITING = "waiting", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Failed")
    DISABLED = "disabled", _("Endpoint disabled")


class Delivery(models.Model):
    """One event for one URL. ``event_id`` is its ``webhook-id``, the same in every attempt.

    ``tries`` counts since it was last asked for and picks the next delay; ``attempts`` counts all.
    While a process makes an attempt, ``due_at`` is when that process counts as lost.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="webhook_deliveries"
    )
    url = models.CharField(max_length=URL_MAX)
    event_id = models.CharField(max_length=EVENT_ID_MAX)
    event_type = models.CharField(max_length=80)
    body = models.TextField()
    state = models.CharField(
        max_length=10, choices=DeliveryState.choices, default=DeliveryState.WAITING
    )
    error = models.CharField(max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "event_id", "url"], name="webhook_event_told_once"
            )
        ]
        indexes = [
            models.Index(fields=["organisation", "-id"], name="webhook_delivery_log"),
            models.Index(
                fields=["organisation", "due_at"],
                condition=models.Q(state="waiting"),
                name="webhook_delivery_due",
            ),
            models.Index(fields=["created_at"], name="webhook_delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} · {self.url}"


class Outcome(models.TextChoices):
    """How an attempt ended."""

    HEARD = "heard", _("Received")
    GONE = "gone", _("Gone: the endpoint wants no more")
    REDIRECT = "redirect", _("Redirect: not followed")
    STATUS = "status", _("Refused by its status")
    TIMEOUT = "timeout", _("No answer in time")
    ADDRESS = "address", _("Internal address: not called")
    UNREACHABLE = "unreachable", _("Not reached")


class DeliveryAttempt(models.Model):
    """One request: when, how long, and the beginning of what was answered."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    outcome = models.CharField(max_length=12, choices=Outcome.choices)
    status = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    response = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S} {self.outcome}"
