"""The catalog in Django's admin. Each save publishes a snapshot."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from marketplace.catalog.models import (
    AIModel,
    Deployment,
    ModelVersion,
    Offer,
    Pool,
    Provider,
    Worker,
)
from marketplace.catalog.shapes import schema_wrong, tensors_wrong
from marketplace.shared.admin import PublishingAdmin


@admin.register(Provider)
class ProviderAdmin(PublishingAdmin):
    list_display = ["name", "slug", "organisation", "commission_bps", "emulated"]
    list_select_related = ["organisation"]
    search_fields = ["name", "slug"]


class ModelVersionInline(admin.TabularInline):
    model = ModelVersion
    extra = 0


class AIModelForm(forms.ModelForm):
    """As a listing is checked: tensors that are none could not be published."""

    def clean_tensors(self) -> dict[str, Any]:
        return self._checked("tensors", tensors_wrong)

    def clean_input_schema(self) -> dict[str, Any]:
        return self._checked("input_schema", schema_wrong)

    def _checked(self, name: str, wrong: Callable[[Any], list[str]]) -> dict[str, Any]:
        given = self.cleaned_data[name]
        value: dict[str, Any] = {} if given is None else given
        if found := wrong(value):
            raise ValidationError(found)
        return value


@admin.register(AIModel)
class AIModelAdmin(PublishingAdmin):
    form = AIModelForm
    list_display = ["name", "display_name", "task", "emulated", "published"]
    list_filter = ["task", "emulated", "published"]
    search_fields = ["name", "display_name"]
    inlines = [ModelVersionInline]


@admin.register(ModelVersion)
class ModelVersionAdmin(PublishingAdmin):
    list_display = ["model", "version", "created_at"]
    list_select_related = ["model"]
    search_fields = ["model__name", "version"]
    autocomplete_fields = ["model"]


class WorkerInline(admin.TabularInline):
    model = Worker
    extra = 0
    fields = [
        *("worker_id", "url", "protocol", "slots", "kv_events_port", "kv_replay_port"),
        "draining",
    ]


@admin.register(Pool)
class PoolAdmin(PublishingAdmin):
    list_display = ["name", "hardware", "engine", "region", "cost_nano_per_hour", "emulated"]
    list_filter = ["emulated", "region"]
    search_fields = ["name", "hardware"]
    inlines = [WorkerInline]


@admin.register(Worker)
class WorkerAdmin(PublishingAdmin):
    list_display = [
        "worker_id",
        "pool",
        "protocol",
        "slots",
        "healthy",
        "draining",
        "health_checked_at",
        "health_error",
    ]
    list_select_related = ["pool"]
    list_filter = ["healthy", "draining", "protocol", "pool"]
    search_fields = ["worker_id", "url"]
    readonly_fields = ["health_checked_at", "health_error"]
    fields = [
        *("worker_id", "pool", "url", "protocol", "slots", "kv_events_port", "kv_replay_port"),
        *("healthy", "draining", "health_checked_at", "health_error"),
    ]


@admin.register(Deployment)
class DeploymentAdmin(PublishingAdmin):
    list_display = ["id", "version", "provider", "pool", "status", "published"]
    list_select_related = ["version__model", "provider", "pool"]
    list_filter = ["status", "provider", "pool"]
    search_fields = ["version__model__name", "provider__name", "pool__name"]
    autocomplete_fields = ["version", "provider", "pool"]


@admin.register(Offer)
class OfferAdmin(PublishingAdmin):
    """Prices are added, never edited or deleted."""

    list_display = [
        "id",
        "deployment",
        "prompt_nano_per_million",
        "completion_nano_per_million",
        "request_nano",
        "row_nano",
        "second_nano",
        "effective_at",
    ]
    list_select_related = ["deployment__version__model", "deployment__provider", "deployment__pool"]
    list_filter = ["deployment__version__model"]
    autocomplete_fields = ["deployment"]

    def has_change_permission(self, request: HttpRequest, obj: Offer | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Offer | None = None) -> bool:
        return False
