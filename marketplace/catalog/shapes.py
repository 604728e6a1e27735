"""What a model takes and gives, checked as people write it."""

import math
import re
from typing import Any

import jsonschema_rs
from django.utils.translation import gettext as _

from router.contracts.oip import BYTES, DTYPES

TENSORS_MAX = 64
DIMENSIONS_MAX = 16
SIZE_MAX = 2**31
INPUT_VALUES_MAX = 4_000_000
"""Of one row, in all inputs together: more is larger than the body of a call may be."""
TENSOR_NAME = re.compile(r"[^\s'\"\\]{1,200}")
"""Nothing that ends a text: names stand in the code that a model's page shows."""
WHY_CHARACTERS = 200


def tensors_wrong(tensors: Any) -> list[str]:
    """What is wrong with a model's tensors, in words; [] when they may be published."""
    shape = _('Tensors look like {"inputs": [{"name", "datatype", "shape"}], "outputs": […]}.')
    if not isinstance(tensors, dict) or set(tensors) - {"inputs", "outputs"}:
        return [shape]
    found = []
    for side in ("inputs", "outputs"):
        rows = tensors.get(side, [])
        if not isinstance(rows, list) or len(rows) > TENSORS_MAX:
            return [shape]
        if not all(map(_is_tensor, rows)):
            return [shape]
        found += [
            _("%(datatype)s is not a datatype. Known ones: %(known)s.")
            % {"datatype": row["datatype"], "known": ", ".join([*DTYPES, BYTES])}
            for row in rows
            if row["datatype"] not in {*DTYPES, BYTES}
        ]
        if len({row["name"] for row in rows}) < len(rows):
            found.append(_("Each tensor needs its own name."))
    values = sum(_values(row["shape"]) for row in tensors.get("inputs", []))
    if values > INPUT_VALUES_MAX:
        found.append(
            _("A row has at most %(most)s values in all inputs, not %(n)s.")
            % {"most": INPUT_VALUES_MAX, "n": values}
        )
    return found


def schema_wrong(schema: Any) -> list[str]:
    """The same of its input schema."""
    if not isinstance(schema, dict):
        return [_("A JSON schema must be a JSON object.")]
    try:
        jsonschema_rs.Draft202012Validator(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        why = str(error).partition("\n")[0][:WHY_CHARACTERS]
        return [_("This is no JSON schema: %(why)s") % {"why": why}]
    return []


def _is_tensor(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and set(row) == {"name", "datatype", "shape"}
        and isinstance(row["name"], str)
        and TENSOR_NAME.fullmatch(row["name"]) is not None
        and isinstance(row["datatype"], str)
        and _is_shape(row["shape"])
    )


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= DIMENSIONS_MAX
        and all(type(size) is int and (size == -1 or 0 < size < SIZE_MAX) for size in value)
    )


def _values(shape: list[int]) -> int:
    """With one of whatever may be of any number."""
    return math.prod(max(size, 1) for size in shape)
