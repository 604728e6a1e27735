"""Advice in Django's admin."""

from django.contrib import admin
from django.http import HttpRequest

from marketplace.planning.advisor.models import Advice


@admin.register(Advice)
class AdviceAdmin(admin.ModelAdmin):
    """What was asked and answered; nothing here is written by hand."""

    list_display = ["id", "model", "organisation", "state", "emulated", "created_at"]
    list_select_related = ["organisation"]
    list_filter = ["state", "emulated"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Advice | None = None) -> bool:
        return False
