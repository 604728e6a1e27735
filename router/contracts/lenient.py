"""Reads answers whose shape is only nearly right, and takes what is there.

Workers send null for missing values, floats for counts, content as a list of parts, numbers that
JSON lacks, and a surrogate pair split over two chunks. The answer is still good. This way is slow:
readers try the strict decoder first.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec

Fields = dict[str, Any]
COUNT_MAX = 1 << 31


def fields_of(body: bytes) -> Fields:
    """Read a JSON object; numbers that JSON lacks (``NaN``, ``Infinity``) become null.

    Raises one of :data:`router.contracts.wire.UNREADABLE` when the body is not a JSON object.
    """
    try:
        found: object = json.loads(body.decode(), parse_constant=lambda name: None)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error
    if not isinstance(found, dict):
        raise msgspec.DecodeError(f"expected an object, got {type(found).__name__}")
    return cast("Fields", found)


def rendered(fields: Fields) -> bytes:
    """Back to JSON. Halves of surrogate pairs stay escaped as they came."""
    return json.dumps(fields, separators=(",", ":")).encode()


def object_of(value: object) -> Fields:
    """The object, or an empty one for anything else."""
    return cast("Fields", value) if isinstance(value, dict) else {}


def objects_of(value: object) -> Sequence[Fields]:
    """The objects in a list; none for anything else."""
    if not isinstance(value, list):
        return ()
    return [cast("Fields", item) for item in cast("list[object]", value) if isinstance(item, dict)]


def text_of(value: object) -> str | None:
    """A text, or the joined texts of a list of parts; None for anything else."""
    if isinstance(value, list):
        parts = [part.get("text") for part in objects_of(cast("object", value))]
        return "".join(part for part in parts if isinstance(part, str))
    return value if isinstance(value, str) else None


def count_of(value: object) -> int | None:
    """A count, also from a float or a text; 0 if missing, None if it is not a count."""
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
