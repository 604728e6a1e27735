"""What a model takes and gives, checked as people write it."""

from typing import Any

import jsonschema_rs
from django.utils.translation import gettext as _

from router.contracts.oip import BYTES, DTYPES

TENSORS_MAX = 64
DIMENSIONS_MAX = 16
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
        for row in rows:
            if not isinstance(row, dict) or set(row) != {"name", "datatype", "shape"}:
                return [shape]
            words = (row["name"], row["datatype"])
            if not all(isinstance(word, str) for word in words) or not _is_shape(row["shape"]):
                return [shape]
            if row["datatype"] not in {*DTYPES, BYTES}:
                found.append(
                    _("%(datatype)s is not a datatype. Known ones: %(known)s.")
                    % {"datatype": row["datatype"], "known": ", ".join([*DTYPES, BYTES])}
                )
    return found


def schema_wrong(schema: Any) -> list[str]:
    """The same of its input schema. What only a look-up elsewhere could tell is taken as right."""
    if not isinstance(schema, dict):
        return [_("A JSON schema must be a JSON object.")]
    try:
        jsonschema_rs.Draft202012Validator(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except jsonschema_rs.ValidationError as error:
        return [_("This is no JSON schema: %(why)s") % {"why": error.message[:WHY_CHARACTERS]}]
    except (jsonschema_rs.ReferencingError, ValueError):
        pass
    return []


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= DIMENSIONS_MAX
        and all(type(size) is int and (size == -1 or size > 0) for size in value)
    )
