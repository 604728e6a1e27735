"""Answers that are sound but not quite in their shape: read for what is there.

Workers send nulls for what they don't have, floats for counts, content as a list of parts, numbers
that JSON lacks, halves of a surrogate pair in two chunks. None of that takes anything from the
answer. This is the slow way: whoever reads bytes tries the decoder of the shape first.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec

Fields = dict[str, Any]
COUNT_MAX = 1 << 31


def fields_of(body: bytes) -> Fields:
    """A JSON object; what is no number in JSON (``NaN``, ``Infinity``) is null.

    Raises one of :data:`router.contracts.wire.UNREADABLE` when it is none.
    """
    try:
        found: object = json.loads(body.decode(), parse_constant=lambda name: None)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
    if not isinstance(found, dict):
        raise msgspec.DecodeError(f"expected an object, got {type(found).__name__}")
    return cast("Fields", found)


def rendered(fields: Fields) -> bytes:
    """As JSON again. Halves of surrogate pairs stay escaped as they came."""
    return json.dumps(fields, separators=(",", ":")).encode()


def object_of(value: object) -> Fields:
    """An object, empty for anything else."""
    return cast("Fields", value) if isinstance(value, dict) else {}


def objects_of(value: object) -> Sequence[Fields]:
    """The objects of a list; none for anything else."""
    if not isinstance(value, list):
        return ()
    return [cast("Fields", one) for one in cast("list[object]", value) if isinstance(one, dict)]


def text_of(value: object) -> str | None:
    """A text, or those of a list of parts; None for anything else."""
    if isinstance(value, list):
        parts = [part.get("text") for part in objects_of(cast("object", value))]
        return "".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else None


def count_of(value: object) -> int | None:
    """A count, which some have as a float or a text; 0 where there is none, None for no count."""
    if value is None:
        return 0
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) <= COUNT_MAX else None
