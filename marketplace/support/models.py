"""Records of which member of the staff looked at what."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class LookKind(models.TextChoices):
    SEARCH = "search", _("Searched")
    ORGANISATION = "organisation", _("Organisation")
    PERSON = "person", _("Person")
    CALL = "call", _("Call")


class Look(models.Model):
    """One view of one thing. A database trigger refuses changes.

    It holds plain text, as the rows it names may be deleted. ``subject`` is a slug, an address or
    a call's id; for a search the results, never the query: that may have been a key.
    """

    staff = models.TextField()
    kind = models.CharField(max_length=12, choices=LookKind.choices)
    subject = models.TextField()
    organisation = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["organisation", "-id"], name="support_look_by_customer")]

    def __str__(self) -> str:
        return f"{self.staff} looked at {self.kind} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None and not self._state.adding:
            raise ValidationError(_("History cannot be changed."))
        super().save(*args, **kwargs)
