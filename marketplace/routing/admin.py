"""Policies and snapshots in Django's admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from marketplace.routing.models import Policy, PolicyKind, SnapshotRow, validate_weights
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.models import RouteTuning, RoutingEvent, Straggler, Trial
from marketplace.shared.admin import PublishingAdmin, ReadOnlyAdmin


class PolicyForm(forms.ModelForm):
    """Checks weights whatever they are: a model's validators pass over what is empty."""

    def clean_weights(self) -> dict[str, float]:
        given = self.cleaned_data["weights"]
        weights: dict[str, float] = {} if given is None else given
        validate_weights(weights)
        return weights


@admin.register(Policy)
class PolicyAdmin(PublishingAdmin):
    """Saving publishes a new version; the old ones stay."""

    form = PolicyForm
    list_display = ["model", "version", "state", "kind", "note", "created_by", "created_at"]
    list_select_related = ["model", "created_by"]
    list_filter = ["state", "kind"]
    autocomplete_fields = ["model"]

    def has_change_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        policy = policy_publish(
            model=obj.model,
            kind=PolicyKind(obj.kind),
            note=obj.note,
            wait_weight=obj.wait_weight,
            usd_weight_s=obj.usd_weight_s,
            hedge_share=obj.hedge_share,
            shared=obj.shared,
            weights=obj.weights,
            created_by=request.user,  # type: ignore[arg-type]  # an admin is a User
        )
        obj.pk, obj.version = policy.pk, policy.version


@admin.register(SnapshotRow)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ["version", "published_at", "models", "workers"]

    def models(self, row: SnapshotRow) -> int:
        return len(row.body["models"])

    def workers(self, row: SnapshotRow) -> int:
        return len(row.body["workers"])


@admin.register(RouteTuning)
class RouteTuningAdmin(ReadOnlyAdmin):
    list_display = ["model", "mode", "canary_share", "slo_ms", "error_budget", "samples_min"]


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    list_display = ["policy", "aim", "asked_by", "started_at", "ended_at", "ended_because"]
    list_select_related = ["policy__model", "asked_by"]


@admin.register(RoutingEvent)
class RoutingEventAdmin(ReadOnlyAdmin):
    list_display = ["at", "model", "version", "kind", "actor", "why"]
    list_filter = ["kind"]


@admin.register(Straggler)
class StragglerAdmin(ReadOnlyAdmin):
    list_display = ["worker", "deployment", "since", "seen_at", "cleared_at"]
    list_select_related = ["worker"]
