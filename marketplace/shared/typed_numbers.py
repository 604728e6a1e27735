"""Numbers with decimals, as people type them: a point and a comma are each either sign."""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.formats import get_format
from django.utils.translation import gettext as _

# Also what no notation tells apart: "1,000" is a thousand to some and one to others.
_EITHER = re.compile(r"([+-]?[1-9][0-9]{0,2})[.,]([0-9]{3})")
_POINTS_GROUP = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]+)?")
_COMMAS_GROUP = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_COMMA_DECIMAL = re.compile(r"[+-]?[0-9]*,[0-9]+")


def plain_number(text: str) -> str:
    """The number with a point and no groups; any other text as it is.

    ``ValidationError`` names both spellings where it may be a thousandfold of another number.
    """
    text = text.strip()
    if either := _EITHER.fullmatch(text):
        whole, fraction = either.groups()
        # Three decimals would be as unclear again.
        rest = fraction.rstrip("0").ljust(2, "0")
        small = f"{whole}.{rest if len(rest) < len(fraction) else fraction + '0'}"
        raise ValidationError(
            _("“%(typed)s” can be read in two ways: write %(large)s or %(small)s.")
            % {"typed": text, "large": whole + fraction, "small": _in_notation(small)},
            code="ambiguous",
        )
    if _POINTS_GROUP.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _COMMAS_GROUP.fullmatch(text):
        return text.replace(",", "")
    return text.replace(",", ".") if _COMMA_DECIMAL.fullmatch(text) else text


def unmistakable(value: Decimal) -> str:
    """A number with a point, as :func:`plain_number` reads it again."""
    text = f"{value:f}"
    return f"{text}0" if _EITHER.fullmatch(text) else text


def typed_number(value: Decimal) -> str:
    """A number as its reader would type it."""
    return _in_notation(unmistakable(value))


class TypedDecimalField(forms.DecimalField):
    """A number that is typed as :func:`plain_number` reads it."""

    widget = forms.TextInput

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.widget.attrs.setdefault("inputmode", "decimal")

    def to_python(self, value: Any) -> Any:
        return super().to_python(plain_number(value) if isinstance(value, str) else value)

    def prepare_value(self, value: Any) -> Any:
        """Keep what was typed; show what is stored as it would be typed."""
        return typed_number(value) if isinstance(value, Decimal) else value


class WholeField(forms.IntegerField):
    """A whole number. Django reads "10.000" as 10, which is ten thousand to many."""

    re_decimal = re.compile(r"(?!)")


def _in_notation(text: str) -> str:
    return text.replace(".", str(get_format("DECIMAL_SEPARATOR")))
