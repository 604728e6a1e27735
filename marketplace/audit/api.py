"""The audit log over the management API."""

from django.db.models import QuerySet
from rest_framework import serializers, viewsets

from marketplace.accounts.access import is_staff, organisations_allowing
from marketplace.accounts.permissions import Permission
from marketplace.audit.acting import Source
from marketplace.audit.filters import AuditFilter
from marketplace.audit.models import AuditEntry
from marketplace.audit.selectors import entries_all, entries_of

ACTIONS = {
    AuditEntry.Action.CREATE: "create",
    AuditEntry.Action.UPDATE: "update",
    AuditEntry.Action.DELETE: "delete",
}


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """``changes`` is ``{field: [before, after]}``; secrets are masked."""

    organisation = serializers.CharField(source="organisation.slug", default=None, allow_null=True)
    who = serializers.CharField(source="actor_name")
    through = serializers.ChoiceField(Source.choices, source="source")
    what = serializers.SerializerMethodField()
    action = serializers.SerializerMethodField()
    changes = serializers.DictField()

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "timestamp",
            "organisation",
            "who",
            "through",
            "remote_addr",
            "action",
            "what",
            "object_pk",
            "object_repr",
            "changes",
        ]

    def get_what(self, entry: AuditEntry) -> str:
        """``app.model`` of what changed."""
        return f"{entry.content_type.app_label}.{entry.content_type.model}"

    def get_action(self, entry: AuditEntry) -> str:
        """``create``, ``update`` or ``delete``."""
        return ACTIONS.get(entry.action, "other")


class AuditLogViewSet(viewsets.ReadOnlyModelViewSet[AuditEntry]):
    """Changes in the organisations whose owner or admin the caller is; for staff, all changes."""

    serializer_class = AuditEntrySerializer
    queryset = AuditEntry.objects.all()
    filterset_class = AuditFilter

    def get_queryset(self) -> QuerySet[AuditEntry]:
        if is_staff(self.request):
            found = entries_all()
        else:
            found = entries_of(organisations_allowing(self.request, Permission.ORGANISATION))
        return found.select_related("organisation")
