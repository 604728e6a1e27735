"""Calls in Django's admin, read-only."""

from django.contrib import admin

from marketplace.shared.admin import ReadOnlyAdmin
from marketplace.usage.models import UsageEvent


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    list_display = [
        "created_at",
        "model",
        "pool",
        "worker_id",
        "outcome",
        "charge_nano",
        "total_ms",
    ]
    list_filter = ["outcome", "kind", "pool"]
    search_fields = ["request_id", "model", "worker_id"]
    show_full_result_count = False
