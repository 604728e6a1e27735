"""Users, organisations, members and keys in Django's admin."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import (
    GUARD_FIELDS,
    LIMIT_FIELDS,
    ApiKey,
    Membership,
    Organisation,
    User,
)
from marketplace.accounts.services import api_key_create, api_key_revoke
from marketplace.shared.signals import catalog_changed


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    ordering = ["email"]
    list_display = ["email", "full_name", "is_active", "is_staff", "date_joined"]
    list_filter = ["is_staff", "is_active"]
    search_fields = ["email", "full_name"]
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = (
        (None, {"fields": ("email", "password", "full_name")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)


@admin.register(Organisation)
class OrganisationAdmin(admin.ModelAdmin):
    list_display = ["slug", "name", "created_at"]
    search_fields = ["slug", "name"]
    inlines = [MembershipInline]

    def save_model(self, request: HttpRequest, obj: Organisation, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        catalog_changed.send(None)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """A new key is shown once, in the message after saving. Keys are revoked, never deleted."""

    list_display = ["name", "organisation", "masked", "status", "last_used_at", "created_at"]
    list_select_related = ["organisation"]
    list_filter = ["organisation"]
    search_fields = ["name", "masked"]
    readonly_fields = ["masked", "created_by", "created_at", "disabled_at", "last_used_at"]
    autocomplete_fields = ["organisation"]
    actions = ["revoke"]

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            catalog_changed.send(None)
            return
        row, key = api_key_create(
            organisation=obj.organisation,
            name=obj.name,
            created_by=request.user,  # type: ignore[arg-type]  # an admin is a User
            scopes=obj.scopes,
            models_allowed=obj.models_allowed,
            expires_at=obj.expires_at,
            rules=obj.rules,
            masks=obj.masks,
            **{name: getattr(obj, name) for name in (*LIMIT_FIELDS, *GUARD_FIELDS)},
        )
        obj.pk = row.pk
        messages.warning(request, _("Copy the key now, it is not shown again: %s") % key)

    @admin.action(description=_("Revoke the selected keys"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for row in queryset:
            api_key_revoke(api_key=row)
