"""Keys in Django's admin."""

from typing import Any

import msgspec
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import GUARD_FIELDS, LIMIT_FIELDS, ApiKey
from marketplace.accounts.services import api_key_create, api_key_revoke
from marketplace.keys.limits import rules_check, rules_of
from marketplace.shared.signals import catalog_changed


class ApiKeyForm(forms.ModelForm):
    """As pages and API check them: rules that are none could not be published."""

    def clean_rules(self) -> list[dict[str, Any]]:
        try:
            wanted = rules_of(self.cleaned_data["rules"] or [])
        except msgspec.ValidationError as error:
            raise ValidationError(str(error)) from None
        return rules_check(wanted, before=rules_of(self.instance.rules))


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """A new key is shown once, in the message after saving. Keys are revoked, never deleted."""

    form = ApiKeyForm
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
