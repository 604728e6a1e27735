"""The audit log in Django's admin, read-only."""

from django.contrib import admin

from marketplace.audit.models import AuditEntry
from marketplace.shared.admin import ReadOnlyAdmin

# django-auditlog's own admin searches name fields that our users lack.
admin.site.unregister(AuditEntry)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["timestamp", "organisation", "actor_name", "source", "action", "object_repr"]
    list_select_related = ["organisation"]
    list_filter = ["action", "source", "content_type"]
    search_fields = ["actor_name", "object_repr"]
