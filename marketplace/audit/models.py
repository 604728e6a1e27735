"""An entry of the audit log."""

from typing import Any

from auditlog.models import AbstractLogEntry, LogEntryManager
from django.db import models
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import ApiKey, Organisation, User
from marketplace.audit.acting import Source, current_actor
from marketplace.audit.registry import organisation_id_of


class AuditEntryManager(LogEntryManager):
    """Adds organisation and actor to each entry."""

    def log_create(self, instance: models.Model, force_log: bool = False, **fields: Any) -> Any:
        return super().log_create(instance, force_log, **fields, **_circumstances(instance))

    def log_m2m_changes(
        self,
        changed_queryset: Any,
        instance: models.Model,
        operation: str,
        field_name: str,
        **fields: Any,
    ) -> Any:
        fields |= _circumstances(instance)
        return super().log_m2m_changes(changed_queryset, instance, operation, field_name, **fields)


def _circumstances(instance: models.Model) -> dict[str, Any]:
    actor = current_actor()
    return {
        "organisation_id": organisation_id_of(instance),
        "actor_id": actor.user.pk if actor.user else None,
        "actor_email": actor.user.email if actor.user else None,
        "api_key_id": actor.key.pk if actor.key else None,
        "actor_name": actor.name,
        "source": actor.source,
        "remote_addr": actor.address,
    }


class AuditEntry(AbstractLogEntry):
    """django-auditlog's entry with an organisation, and an actor that may be a key or a job.

    ``organisation`` is empty for changes of the platform or of a person's own account. Entries
    outlive the rows they name: references have no constraint, and ``actor_name`` is text.
    """

    actor = models.ForeignKey(
        User,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="+",
    )
    organisation = models.ForeignKey(
        Organisation,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="+",
    )
    api_key = models.ForeignKey(
        ApiKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="+",
    )
    actor_name = models.CharField(max_length=254, blank=True)
    source = models.CharField(max_length=10, choices=Source.choices)

    objects = AuditEntryManager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("entry of the audit log")
        verbose_name_plural = _("audit log")
        indexes = [
            models.Index(fields=["organisation", "-id"], name="audit_organisation"),
            models.Index(fields=["actor", "-id"], name="audit_actor"),
        ]

    @property
    def lines(self) -> list[tuple[str, Any, Any]]:
        """What changed: field, value before, value after."""
        return [(field, *values) for field, values in sorted((self.changes or {}).items())]
