"""Profiles in Django's admin. A published one is the router's prior."""

from django.contrib import admin
from django.http import HttpRequest

from marketplace.benchmarks.advisor.models import Advice
from marketplace.benchmarks.models import Profile
from marketplace.shared.admin import PublishingAdmin


@admin.register(Profile)
class ProfileAdmin(PublishingAdmin):
    list_display = ["deployment", "service_ms", "source", "emulated", "published", "created_at"]
    list_select_related = [
        "deployment__version__model",
        "deployment__provider",
        "deployment__pool",
    ]
    list_filter = ["published", "emulated"]
    autocomplete_fields = ["deployment"]
    readonly_fields = ["engine"]


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
