"""Adds errors to the published schema: each operation may answer with a problem document."""

from typing import Any

from marketplace.config.errors.refusals import PROBLEM_TYPE

NAME = "Problem"
PROBLEM = {
    "type": "object",
    "description": "What was wrong (RFC 9457). Some problems have members of their own.",
    "required": ["type", "title", "status", "instance", "detail"],
    "properties": {
        "type": {"type": "string", "description": "What kind it is, beyond its status."},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "instance": {"type": "string", "description": "The path that was asked."},
        "detail": {"type": "string", "description": "A sentence for people."},
        "errors": {
            "type": "array",
            "description": "By field; the field is empty where it is about the whole body.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}
RANGES = {
    "4XX": "The request was refused.",
    "5XX": "It is not the request's fault. With Retry-After: the same request may do later.",
}


def with_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the problem document to the components and to every operation's responses."""
    components = result.setdefault("components", {}).setdefault("schemas", {})
    components[NAME] = PROBLEM
    document = {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{NAME}"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            responses = {code: {"description": text} for code, text in RANGES.items()}
            operation["responses"] |= {
                code: {**response, "content": document} for code, response in responses.items()
            }
    return result
