"""What questions to the advisor and to the simulator share: how they are read, and wait in line."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from msgspec import Struct

Q = TypeVar("Q", bound=Struct)
_FIELD = re.compile(r"`\$\.([a-z_]+)|field `([a-z_]+)`")


class QuestionInvalid(ValueError):
    """What is wrong with a question, and what would be right. ``field`` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class QueueFull(ValueError):
    """So many questions wait already."""


def question_read(shape: type[Q], fields: Mapping[str, Any], *, strict: bool = True) -> Q:
    """A question out of JSON's values, and of text where not ``strict``.

    Raises :class:`QuestionInvalid`, with the field and its bound.
    """
    try:
        return msgspec.convert(dict(fields), shape, strict=strict)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, QuestionInvalid):
            raise error.__cause__ from None
        found = _FIELD.search(str(error))
        field = (found[1] or found[2]) if found else "question"
        value = f", got {fields[field]!r}" if field in fields else ""
        text = _("the question does not fit: %(why)s") % {"why": f"{error}{value}"}
        raise QuestionInvalid(field, text) from None


def queue_check(waiting: QuerySet[Any], most: int) -> None:
    """Raises :class:`QueueFull` where ``most`` questions wait."""
    if waiting.count() >= most:
        raise QueueFull(
            _("%(count)s questions are already queued: try again in a minute") % {"count": most}
        )
