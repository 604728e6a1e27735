"""Form fields with the design system's classes."""

from decimal import Decimal

from django import forms, template
from django.forms import BoundField
from django.utils.safestring import SafeString

from marketplace.shared.typed_numbers import typed_number

register = template.Library()


@register.filter
def as_input(field: BoundField) -> SafeString:
    """The field's control with our class; Django adds the ARIA attributes for errors."""
    plain = isinstance(field.field.widget, forms.CheckboxInput)
    return field.as_widget(attrs={} if plain else {"class": "input"})


@register.filter
def is_check(field: BoundField) -> bool:
    """Whether the field is a checkbox, whose label comes after it."""
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def typed(number: Decimal | float) -> str:
    """A number of a text field, as its reader would type it."""
    return typed_number(Decimal(str(number)))
