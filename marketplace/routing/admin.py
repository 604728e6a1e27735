"""Policies and snapshots in Django's admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from marketplace.routing.models import Policy, PolicyKind, SnapshotRow
from marketplace.routing.publishing import PublishingAdmin, ReadOnlyAdmin
from marketplace.routing.services import policy_publish


@admin.register(Policy)
class PolicyAdmin(PublishingAdmin):
    """Saving publishes a new version; the old ones stay."""

    list_display = ["model", "version", "kind", "note", "created_by", "created_at"]
    list_select_related = ["model", "created_by"]
    list_filter = ["kind"]
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
