"""Forms for own endpoints. Prices are in dollars per million tokens."""

from decimal import Decimal
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.endpoints.models import OwnEndpoint, OwnTask
from marketplace.endpoints.services import KEY_MAX
from marketplace.shared.typed_numbers import TypedDecimalField, WholeField
from router.domain.money import NANO_PER_USD

PRICES = {
    "market_prompt_usd_max": "market_prompt_nano_max",
    "market_completion_usd_max": "market_completion_nano_max",
}
"""The columns of the form's prices."""


def _price(label: Any) -> TypedDecimalField:
    return TypedDecimalField(
        min_value=Decimal(0), max_digits=12, decimal_places=6, required=False, label=label
    )


def _key(help_text: Any, *, required: bool = False) -> forms.CharField:
    """A key, which no page shows again."""
    return forms.CharField(
        max_length=KEY_MAX,
        required=required,
        label=_("Key"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=help_text,
    )


ENCRYPTED = _("It is encrypted, and only routers read it, as they call the endpoint.")


class KeyForm(forms.Form):
    """Another key."""

    key = _key(ENCRYPTED, required=True)


class UseForm(forms.ModelForm):
    """How an endpoint is used. ``PLACE`` are fields of a new one."""

    PLACE: tuple[str, ...] = ()
    stands_for = forms.ModelChoiceField(
        AIModel.objects.none(),
        to_field_name="name",
        required=False,
        label=_("First for the market's model"),
        empty_label=_("none: it is called by its own name only"),
        help_text=_("Your calls to this model go to your endpoint first."),
    )
    market_prompt_usd_max = _price(_("At most, $ per 1M prompt tokens"))
    market_completion_usd_max = _price(_("At most, $ per 1M answer tokens"))

    class Meta:
        model = OwnEndpoint
        fields = [
            "upstream_model",
            "slots",
            "context_tokens_max",
            "completion_tokens_max",
            "stands_for",
            "spills",
        ]
        field_classes = dict.fromkeys(
            ("slots", "context_tokens_max", "completion_tokens_max"), WholeField
        )
        help_texts = {
            "upstream_model": _("What the endpoint calls it, like gpt-4o-mini."),
            "slots": _("More calls wait, or go to the market."),
            "context_tokens_max": _("0 if you do not know it."),
            "completion_tokens_max": _("0 for no limit of ours."),
            "spills": _(
                "Where your endpoint fails, is full or refuses its key, the market takes the call, "
                "at these prices at most."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.hosted:
            del self.fields["slots"]  # Its agents say that.
        models = models_published().filter(task__in=OwnTask.values).order_by("name")
        self.fields["stands_for"].queryset = models  # type: ignore[attr-defined]
        # A row, not its key: the field knows models by name.
        self.initial["stands_for"] = self.instance.stands_for
        for name, column in PRICES.items():
            nano = getattr(self.instance, column)
            self.initial.setdefault(name, "" if nano is None else Decimal(nano) / NANO_PER_USD)

    def _post_clean(self) -> None:
        """The services validate, with what a form does not know."""

    @property
    def market(self) -> list[BoundField]:
        """The fields about the market."""
        return [self[name] for name in ("stands_for", "spills", *PRICES)]

    @property
    def place(self) -> list[BoundField]:
        """The fields about the endpoint."""
        use = ("upstream_model", "slots", "context_tokens_max", "completion_tokens_max")
        return [self[name] for name in (*self.PLACE, *use) if name in self.fields]

    @property
    def use(self) -> dict[str, Any]:
        """The columns of a valid form."""
        values = dict(self.cleaned_data)
        for name, column in PRICES.items():
            usd: Decimal | None = values.pop(name)
            values[column] = None if usd is None else int(usd * NANO_PER_USD)
        return values


class NewHostedForm(UseForm):
    """A new endpoint whose servers agents report."""

    PLACE = ("slug", "task", "key")
    key = _key(_("What your servers ask for, if they do. It is encrypted."))

    class Meta(UseForm.Meta):
        fields = ["slug", "task", *UseForm.Meta.fields]
        help_texts = {
            **UseForm.Meta.help_texts,
            "slug": _("Lower case letters, digits and dashes."),
            "upstream_model": _("What your servers call it: --served-name of the agent."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, instance=OwnEndpoint(hosted=True), **kwargs)

    @property
    def use(self) -> dict[str, Any]:
        """The columns of a valid form."""
        return super().use | {"hosted": True}


class NewEndpointForm(UseForm):
    """A new endpoint at a URL. Some need no key."""

    PLACE = ("slug", "task", "dialect", "url", "key")
    key = _key(ENCRYPTED)

    class Meta(UseForm.Meta):
        fields = ["slug", "task", "dialect", "url", *UseForm.Meta.fields]
        help_texts = {
            **UseForm.Meta.help_texts,
            "slug": _("Lower case letters, digits and dashes."),
            "url": _("Like https://api.example.com; its /v1 is added. It cannot change later."),
        }
