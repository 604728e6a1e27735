"""The base of tables in Django's admin whose changes are in force when the request ends."""

from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest

from marketplace.routing.services import snapshot_publish


class PublishingAdmin(admin.ModelAdmin):
    """Publishes a snapshot after each change, within the admin's own transaction."""

    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        snapshot_publish()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        snapshot_publish()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        super().delete_queryset(request, queryset)
        snapshot_publish()
