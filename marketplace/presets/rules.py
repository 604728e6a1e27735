"""What a preset may say. Errors are ``ValidationError`` by field."""

from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel
from marketplace.presets.naming import without_suffix
from marketplace.shared.texts import unkept_in
from router.contracts.wire import UNREADABLE
from router.domain.request import AUTO, Wishes

NAME_MAX = 60
SYSTEM_MAX = 8_000
"""The longest instructions, in characters: routers hold all presets in memory."""
PARAMETERS_MAX = 4_096
FALLBACKS_MAX = 4
NOT_PARAMETERS = frozenset(
    {"input", "instructions", "messages", "model", "prompt", "stream", "stream_options", "system"}
)
"""What only a call says, or what a preset has another place for."""


def parameters_read(text: str) -> dict[str, Any]:
    """The JSON object that somebody wrote; empty text is none."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except UNREADABLE as error:
        said = _("This is not a JSON object: %(why)s") % {"why": error}
        raise ValidationError({"parameters": said}) from None


def preset_check(*, model: str, system: str, parameters: dict[str, Any], before: str = "") -> None:
    """Raises for a model that does not exist, unless the version ``before`` has it, or for a field
    that a preset cannot have.
    """
    name = without_suffix(model)
    is_known = name in {"", AUTO} or model == before
    if not is_known and not AIModel.objects.filter(name=name).exists():
        raise ValidationError(
            {
                "model": _("There is no model %(names)s; names look like author/slug.")
                % {"names": name}
            }
        )
    if len(system) > SYSTEM_MAX:
        raise ValidationError({"system": _("At most %(n)s characters.") % {"n": SYSTEM_MAX}})
    if not (model or system or parameters):
        raise ValidationError({"model": _("A preset says something: a model, or instructions.")})
    if unkept := unkept_in(parameters):
        raise ValidationError({"parameters": unkept})
    if len(msgspec.json.encode(parameters)) > PARAMETERS_MAX:
        said = _("At most %(n)s characters.") % {"n": PARAMETERS_MAX}
        raise ValidationError({"parameters": said})
    if unfit := sorted(NOT_PARAMETERS & parameters.keys()):
        raise ValidationError(
            {"parameters": _("A preset cannot have: %(names)s.") % {"names": ", ".join(unfit)}}
        )
    try:
        msgspec.convert(parameters.get("provider") or {}, Wishes)
        others = msgspec.convert(parameters.get("models") or [], list[str])
    except msgspec.ValidationError as error:
        raise ValidationError({"parameters": str(error)}) from None
    if len(others) > FALLBACKS_MAX:
        raise ValidationError({"parameters": _("At most %(n)s fallbacks.") % {"n": FALLBACKS_MAX}})
