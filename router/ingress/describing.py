"""Words for describing operations in OpenAPI's terms."""

from typing import Any

Schema = dict[str, Any]
JSON, EVENTS = "application/json", "text/event-stream"

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY_LIST: Schema = {"type": "array"}


def object_with(required: Schema, optional: Schema | None = None) -> Schema:
    """An object with these properties."""
    properties = required | (optional or {})
    return {"type": "object", "required": list(required), "properties": properties}


def list_of(items: Schema, least: int = 0) -> Schema:
    """A list of at least so many."""
    return {"type": "array", "items": items, "minItems": least}


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """The shape of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


EVENT = object_with({"data": TEXT}, {"event": TEXT})
MESSAGE = object_with({"role": {"enum": ["system", "user", "assistant"]}, "content": TEXT})
GENERATION = {"max_tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 31}, "stream": FLAG}
ROUTING = {"models": list_of(TEXT), "provider": {"type": "object"}}


def content(schema: Schema, *more: str) -> Schema:
    """A body of JSON, or of ``more`` types made of events."""
    return {JSON: {"schema": schema}} | {kind: {"schema": EVENT} for kind in more}


def operation(
    summary: str,
    answer: str,
    *more: str,
    takes: str = "",
    error: str = "Error",
    key: str | None = "key",
    query: str = "",
    bare: str = "",
    form: str = "",
) -> Schema:
    """One operation: its input, its answer, and the shape of its errors.

    An answer of the type ``bare`` has no shape; it may be the only one. The input is JSON, or of
    the type ``form``.
    """
    answers = content(ref(answer), *more) if answer else {}
    described: Schema = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": answers | ({bare: {}} if bare else {})},
            "default": {"description": "An error.", "content": content(ref(error))},
        },
        "security": [{key: []}] if key else [],
    }
    if takes:
        taken = {form: {"schema": ref(takes)}} if form else content(ref(takes))
        described["requestBody"] = {"required": True, "content": taken}
    if query:
        described["parameters"] = [{"name": query, "in": "query", "required": True, "schema": TEXT}]
    return described
