"""What people agreed to give tools that asked for a key. Keys themselves are in accounts."""

from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from marketplace.accounts.models import ApiKey, Organisation, Scope, User
from marketplace.billing.models import Window

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Consent(models.Model):
    """A person's consent to a key for a tool, and the key once the tool has come for it.

    Only a digest of the code that the tool gets is stored. No ``limit_nano`` means no budget.
    """

    organisation = models.ForeignKey(
        Organisation, on_delete=models.CASCADE, related_name="consents"
    )
    person = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    name = models.CharField(max_length=80)
    client = models.CharField(max_length=80, blank=True)
    redirect_uri = models.CharField(max_length=2_000)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices))
    limit_nano = models.BigIntegerField(null=True, blank=True)
    window = models.CharField(max_length=10, choices=Window.choices, blank=True)
    code_digest = models.CharField(max_length=64, unique=True, editable=False)
    challenge = models.CharField(max_length=43, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    key = models.OneToOneField(
        ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="consent"
    )

    def __str__(self) -> str:
        return f"{self.name} → {self.host or urlsplit(self.redirect_uri).netloc}"

    @property
    def host(self) -> str:
        """Where the tool runs; "" for the person's own computer."""
        parts = urlsplit(self.redirect_uri)
        return "" if parts.hostname in LOOPBACK else parts.netloc
