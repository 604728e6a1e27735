"""Profiles in Django's admin. A published one is the router's prior."""

from django.contrib import admin

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
