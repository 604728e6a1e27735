"""The form of a consent."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import Organisation, Scope
from marketplace.accounts.services import api_key_room_check
from marketplace.billing.budgets.forms import BudgetForm
from marketplace.billing.models import Window
from marketplace.keys.consents.asked import Asked
from router.domain.money import NANO_PER_USD


class ConsentForm(BudgetForm):
    """What the person gives: never more than was asked for."""

    organisation = forms.ModelChoiceField(
        Organisation.objects.none(),
        to_field_name="slug",
        empty_label=None,
        label=_("Organisation that pays"),
    )
    name = forms.CharField(max_length=80, label=_("Name of the key"))
    scopes = forms.MultipleChoiceField(
        choices=(), widget=forms.CheckboxSelectMultiple, label=_("It may")
    )

    def __init__(
        self,
        given: QueryDict | None,
        *,
        asked: Asked,
        organisations: QuerySet[Organisation],
        current: Organisation | None,
    ) -> None:
        initial = {
            "organisation": current.slug if current else None,
            "name": asked.label or asked.client or asked.host or str(_("A program")),
            # What acts for the whole organisation is ticked by the person alone.
            "scopes": [scope for scope in asked.scopes if scope != Scope.MANAGEMENT],
            "budget_usd": asked.limit_usd,
            "window": asked.window,
        }
        super().__init__(given, initial=initial)
        self.fields["organisation"].queryset = organisations  # type: ignore[attr-defined]
        self.fields["scopes"].choices = [  # type: ignore[attr-defined]
            (scope.value, scope.label) for scope in Scope if scope in asked.scopes
        ]

    def clean_organisation(self) -> Organisation:
        """The organisation. ValidationError if it has as many keys as it may."""
        organisation: Organisation = self.cleaned_data["organisation"]
        api_key_room_check(organisation)
        return organisation

    @property
    def agreed(self) -> dict[str, Any]:
        """What a valid form agrees to, as ``consent_give`` takes it."""
        given = self.cleaned_data
        limit_usd = given["budget_usd"]
        return {
            **{name: given[name] for name in ("organisation", "name", "scopes")},
            "limit_nano": None if limit_usd is None else int(limit_usd * NANO_PER_USD),
            "window": given["window"] or Window.MONTH,
        }
