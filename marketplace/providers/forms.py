"""Forms of the console: money in dollars, endpoints as rows, everything else as stored."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.catalog.models import AIModel, Protocol, Provider
from marketplace.catalog.selectors import models_published
from marketplace.providers.listings.drafts import ENDPOINTS_MAX, SLOTS_MAX
from marketplace.providers.models import MODEL_FIELDS, Listing
from marketplace.providers.services import PROVIDER_FIELDS
from marketplace.shared.texts import unkept_in
from marketplace.shared.typed_numbers import TypedDecimalField, WholeField
from router.contracts.wire import UNREADABLE
from router.domain.money import NANO_PER_USD
from router.domain.pricing import PRICE_FIELDS, Price

SPARE_ENDPOINTS = 2
USD_MAX = Decimal(1_000_000)
USD_DECIMALS = 9
PRICE_LABELS = {
    "prompt_nano_per_million": gettext_lazy("Prompt, USD per 1M tokens"),
    "cached_nano_per_million": gettext_lazy("Cached prompt, USD per 1M tokens"),
    "completion_nano_per_million": gettext_lazy("Answer, USD per 1M tokens"),
    "reasoning_nano_per_million": gettext_lazy("Reasoning, USD per 1M tokens"),
    "request_nano": gettext_lazy("USD per call"),
    "row_nano": gettext_lazy("USD per row, or other unit of the task"),
    "image_nano": gettext_lazy("USD per image"),
    "second_nano": gettext_lazy("USD per second of hardware"),
}


class UsdField(TypedDecimalField):
    """Dollars on the page, nano-USD in the program; empty means None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            min_value=0, max_value=USD_MAX, decimal_places=USD_DECIMALS, required=False, **kwargs
        )
        self.widget.attrs["placeholder"] = "0"

    def clean(self, value: Any) -> int:
        return int((super().clean(value) or Decimal(0)) * NANO_PER_USD)

    def prepare_value(self, value: Any) -> Any:
        """Keep what was typed; show stored values in dollars."""
        if not isinstance(value, int):
            return value
        return super().prepare_value(Decimal(value) / NANO_PER_USD) if value else ""


class DiscountField(TypedDecimalField):
    """Percent on the page, basis points in the program; empty is None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=100, decimal_places=2, required=False, **kwargs)

    def clean(self, value: Any) -> int | None:
        percent = super().clean(value)
        return None if percent is None else int(percent * 100)

    def prepare_value(self, value: Any) -> Any:
        """Keep what was typed; show stored values in percent."""
        return super().prepare_value(Decimal(value) / 100) if isinstance(value, int) else value


class ObjectField(forms.JSONField):
    """A JSON object; an empty one is an empty field."""

    def to_python(self, value: Any) -> Any:
        """As strict as a body of the API: no NaN, and no text that no table keeps."""
        try:
            found = msgspec.json.decode(value or "{}")
        except UNREADABLE as error:
            raise ValidationError(
                _("This is not a JSON object: %(why)s") % {"why": error}
            ) from error
        if unkept := unkept_in(found):
            raise ValidationError(unkept)
        return found

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Keep what was typed, whatever it is."""
        return InvalidJSONInput(data or "")

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(value) if value else ""


def _dressed(form: forms.BaseForm) -> None:
    """Our own classes on Django's widgets, and labels without a colon."""
    form.label_suffix = ""
    for field in form.fields.values():
        if not isinstance(field.widget, forms.CheckboxInput):
            field.widget.attrs.setdefault("class", "input")


class ProviderForm(forms.ModelForm):
    """What a provider says of itself."""

    website = forms.URLField(required=False, assume_scheme="https", label=gettext_lazy("Website"))

    class Meta:
        model = Provider
        fields = ["slug", *PROVIDER_FIELDS]
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}
        labels = {
            "slug": gettext_lazy("Slug"),
            "name": gettext_lazy("Name"),
            "description": gettext_lazy("Description"),
        }
        help_texts = {
            "slug": gettext_lazy(
                "The author name of your models (slug/model), for example "
                "northyard. It cannot be changed later."
            )
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            del self.fields["slug"]
        _dressed(self)


class PriceForm(forms.Form):
    """All kinds of prices that an offer has, what batches pay less, and from when."""

    batch_discount_bps = DiscountField(
        label=gettext_lazy("Batches pay less, %"),
        help_text=gettext_lazy("50 is half. Leave empty to keep what is now."),
    )
    effective_at = forms.DateTimeField(
        required=False,
        label=gettext_lazy("In force from, UTC"),
        help_text=gettext_lazy("Leave empty to start at once."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in PRICE_FIELDS:
            self.fields[name] = UsdField(label=PRICE_LABELS[name])
        _dressed(self)

    @property
    def price_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in PRICE_FIELDS]

    @property
    def price(self) -> Price:
        """Of a valid form."""
        return Price(id=0, **{name: self.cleaned_data[name] for name in PRICE_FIELDS})

    @staticmethod
    def initial_of(row: Any) -> dict[str, Any]:
        """The prices of an offer or a listing; an offer has a discount too."""
        if row is None:
            return {}
        discount = {"batch_discount_bps": getattr(row, "batch_discount_bps", None)}
        return discount | {name: getattr(row, name) for name in PRICE_FIELDS}


class EndpointForm(forms.Form):
    """One worker; an empty URL is no worker."""

    url = forms.CharField(
        max_length=300,
        required=False,
        label=gettext_lazy("URL"),
        widget=forms.TextInput(attrs={"placeholder": "https://gpu-1.example.com"}),
    )
    protocol = forms.ChoiceField(choices=Protocol.choices, label=gettext_lazy("Protocol"))
    slots = WholeField(min_value=1, max_value=SLOTS_MAX, initial=1, label=gettext_lazy("Slots"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _dressed(self)


EndpointFormSet = forms.formset_factory(
    EndpointForm, extra=SPARE_ENDPOINTS, max_num=ENDPOINTS_MAX, validate_max=True
)


class DraftForm(forms.ModelForm):
    """A complete or partial draft: what is filled in must be valid, the rest may come later."""

    existing = forms.CharField(
        required=False,
        max_length=120,
        label=gettext_lazy("A model of the catalog"),
        help_text=gettext_lazy(
            "author/slug, to offer a model that another provider already offers."
        ),
        widget=forms.TextInput(attrs={"placeholder": "author/slug", "spellcheck": "false"}),
    )
    parameters = forms.CharField(
        required=False,
        max_length=2_000,
        label=gettext_lazy("Supported parameters"),
        help_text=gettext_lazy(
            "Request fields that the workers support, separated by commas: stop, seed, tools, …; "
            "and responses, if they speak OpenAI's Responses API"
        ),
    )
    source_url = forms.URLField(required=False, assume_scheme="https", label=gettext_lazy("Source"))
    cost_usd = UsdField(label=gettext_lazy("Your cost of a worker, USD per hour"))

    class Meta:
        model = Listing
        fields = [
            "model_name",
            *MODEL_FIELDS,
            "version",
            "version_notes",
            "pool_name",
            "hardware",
            "engine",
            "region",
            "upstream_model",
            "quantization",
            "collects_data",
        ]
        field_classes = {
            "input_schema": ObjectField,
            "tensors": ObjectField,
            "context_tokens_max": WholeField,
            "completion_tokens_max": WholeField,
        }
        labels = {
            "model_name": gettext_lazy("Name"),
            "display_name": gettext_lazy("Display name"),
            "task": gettext_lazy("Task"),
            "description": gettext_lazy("Description"),
            "license": gettext_lazy("Licence"),
            "context_tokens_max": gettext_lazy("Context, tokens"),
            "completion_tokens_max": gettext_lazy("Longest answer, tokens"),
            "input_schema": gettext_lazy("JSON schema of the input"),
            "tensors": gettext_lazy("Tensors"),
            "version": gettext_lazy("Version"),
            "version_notes": gettext_lazy("Release notes"),
            "pool_name": gettext_lazy("Pool"),
            "hardware": gettext_lazy("Hardware"),
            "engine": gettext_lazy("Engine"),
            "region": gettext_lazy("Region"),
            "upstream_model": gettext_lazy("Upstream model"),
            "quantization": gettext_lazy("Quantisation"),
            "collects_data": gettext_lazy("We may keep prompts or answers"),
        }
        help_texts = {
            "input_schema": gettext_lazy("The playground builds its form from it."),
            "tensors": gettext_lazy(
                "Open Inference Protocol only: inputs and outputs with name, datatype and shape; "
                "-1 is any size."
            ),
            "pool_name": gettext_lazy(
                "A name for a group of identical workers, or the name of one of your pools."
            ),
            "upstream_model": gettext_lazy("The model's name on your workers."),
            "collects_data": gettext_lazy("Callers can ask for providers that keep no data."),
        }
        widgets = {
            "description": forms.Textarea(attrs={"rows": 3}),
            "version_notes": forms.Textarea(attrs={"rows": 2}),
            "input_schema": forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
            "tensors": forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
        }

    SECTIONS: Mapping[str, Iterable[str]] = {
        "new": (
            "model_name",
            "display_name",
            "task",
            "license",
            "source_url",
            "context_tokens_max",
            "completion_tokens_max",
        ),
        "new_wide": ("description", "input_schema", "tensors"),
        "pool": ("pool_name", "hardware", "engine", "region", "cost_usd"),
        "terms": ("quantization", "parameters"),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        listing = self.instance
        self.initial["existing"] = listing.existing_model.name if listing.existing_model else ""
        self.initial["parameters"] = ", ".join(listing.supported_parameters)
        self.initial["cost_usd"] = listing.cost_nano_per_hour
        for name in ("context_tokens_max", "completion_tokens_max"):
            self.fields[name].required = False
            self.initial[name] = self.initial.get(name) or ""
        self.fields["model_name"].help_text = f"{listing.provider.slug}/…"
        _dressed(self)

    def section(self, name: str) -> list[forms.BoundField]:
        return [self[field] for field in self.SECTIONS[name]]

    new = property(lambda self: self.section("new"))
    new_wide = property(lambda self: self.section("new_wide"))
    pool = property(lambda self: self.section("pool"))
    terms = property(lambda self: self.section("terms"))

    def clean_existing(self) -> AIModel | None:
        name = self.cleaned_data["existing"].strip()
        if not name:
            return None
        model = models_published().filter(name=name).first()
        if model is None:
            raise ValidationError(_("The catalog has no model of this name."))
        return model

    def clean_parameters(self) -> list[str]:
        words = self.cleaned_data["parameters"].replace(",", " ").split()
        return list(dict.fromkeys(words))

    def clean_input_schema(self) -> dict[str, Any]:
        return self._object("input_schema")

    def clean_tensors(self) -> dict[str, Any]:
        return self._object("tensors")

    def clean_context_tokens_max(self) -> int:
        return self.cleaned_data["context_tokens_max"] or 0

    def clean_completion_tokens_max(self) -> int:
        return self.cleaned_data["completion_tokens_max"] or 0

    def _object(self, name: str) -> dict[str, Any]:
        value = self.cleaned_data[name] or {}
        if not isinstance(value, dict):
            raise ValidationError(_("Enter a JSON object."))
        return value

    def values(self) -> dict[str, Any]:
        """What the service takes, of a valid form."""
        own = {name: self.cleaned_data[name] for name in self.Meta.fields}
        return {
            **own,
            "existing_model": self.cleaned_data["existing"],
            "supported_parameters": self.cleaned_data["parameters"],
            "cost_nano_per_hour": self.cleaned_data["cost_usd"],
        }


FIELD_NAMES = {
    "existing_model": "existing",
    "supported_parameters": "parameters",
    "cost_nano_per_hour": "cost_usd",
}
"""What the form calls a listing's fields."""


def endpoints_of(formset: Any) -> list[dict[str, Any]]:
    """The rows of a valid formset that have a URL."""
    return [
        {"url": row["url"].strip(), "protocol": row["protocol"], "slots": row["slots"]}
        for row in formset.cleaned_data
        if row.get("url", "").strip()
    ]
