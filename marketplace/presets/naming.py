"""The names that a call's ``model`` may have beside a model's own. Pure.

``@preset/name`` and ``author/slug@preset/name`` are presets, ``auto`` leaves the choice to the
router, and a suffix of any of them is a wish how to route.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marketplace.presets.models import Preset
from router.domain.request import PRESET_MARK

SUFFIXES = (":cheapest", ":fastest", ":floor", ":nitro")
"""Of a model's name; they say how to route."""


class NameInvalid(ValueError):
    """No call gets through by this name. ``code`` is the error's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Meant:
    """``model`` is the name without a suffix, of a model or ``auto``.

    ``fields`` are what a preset adds to the call.
    """

    model: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def meant_by(name: str, presets: Mapping[str, Preset]) -> Meant:
    """What a name means to an organisation that has these presets.

    Raises :class:`NameInvalid` for a preset that it has not, or that needs a model beside it.
    """
    model, mark, preset_name = name.partition(PRESET_MARK)
    if not mark:
        return Meant(without_suffix(model))
    preset = presets.get(preset_name)
    if preset is None:
        raise NameInvalid(
            "preset_not_found",
            f"your organisation has no preset {preset_name[:80]!r}; its Presets page lists those "
            "that it has",
        )
    model = without_suffix(model or preset.model)
    if not model:
        raise NameInvalid(
            "invalid_model",
            f"preset {preset_name!r} names no model; call author/slug{PRESET_MARK}{preset_name}",
        )
    return Meant(model, preset.parameters)


def without_suffix(name: str) -> str:
    """The name without its wish."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name
