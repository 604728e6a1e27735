"""An example of what a JSON schema describes, to show how a pipeline is called. Pure."""

from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 8
ITEMS_MAX = 32
PLAIN: Mapping[object, Any] = {
    "string": "…",
    "number": 0.5,
    "integer": 1,
    "boolean": True,
    "null": None,
    "object": {},
    "array": [],
}


def example_of(schema: Any, depth: int = 0) -> Any:
    """The schema's own example, default or first choice; else a plain value of its type.

    Patterns, bounds and references are not followed: it shows the shape and may be refused.
    """
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return "…"
    for word in ("examples", "enum"):
        if isinstance(given := schema.get(word), list) and given:
            return given[0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return _object(schema, depth)
    if kind == "array":
        return _array(schema, depth)
    return PLAIN.get(kind, "…") if isinstance(kind, str) else "…"


def _object(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    fields = schema.get("properties")
    fields = fields if isinstance(fields, dict) else {}
    return {name: example_of(field, depth + 1) for name, field in list(fields.items())[:ITEMS_MAX]}


def _array(schema: dict[str, Any], depth: int) -> list[Any]:
    first = schema.get("prefixItems")
    if isinstance(first, list) and first:
        return [example_of(item, depth + 1) for item in first[:ITEMS_MAX]]
    least = schema.get("minItems", 1)
    count = min(max(least, 1), ITEMS_MAX) if isinstance(least, int) else 1
    return [example_of(schema.get("items"), depth + 1)] * count
