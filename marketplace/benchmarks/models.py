"""Profiles: what is known about a deployment's speed before and beside live traffic."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Deployment


class Profile(models.Model):
    """The mean service time of one request, with where the figure comes from.

    The newest published profile of a deployment is the router's prior. ``emulated`` marks figures
    that describe an emulated worker and not a measurement of hardware.
    """

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="profiles")
    service_ms = models.FloatField(validators=[MinValueValidator(0.001)])
    source = models.CharField(max_length=300, help_text=_("Where the figure comes from."))
    emulated = models.BooleanField(default=False)
    published = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["deployment", "-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(service_ms__gt=0), name="profile_service_positive"
            )
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.service_ms:g} ms"
