"""Every operation of the management API, out of its own schema, and a body for each."""

import functools
import re
from dataclasses import dataclass
from typing import Any

from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")
Schema = dict[str, Any]
EXAMPLES = {
    "date-time": "2099-01-01T00:00:00Z",
    "email": "x@example.com",
    "uri": "https://example.com",
}
"""By format, of strings."""


@dataclass(frozen=True, slots=True)
class Operation:
    """``resource`` is the path below /api/v1/ up to what names one row."""

    method: str
    path: str
    described: Schema

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def resource(self) -> str:
        return self.path.removeprefix("/api/v1/").partition("/{")[0]

    @property
    def is_of_one_row(self) -> bool:
        return "{" in self.path

    def path_of(self, row: object) -> str:
        """The path for this row, where it is of one."""
        path = re.sub(r"\{[^}]*\}", str(row), self.path, count=1)
        return re.sub(r"\{([^}]*)\}", lambda match: self._first(match[1]), path)

    def _first(self, name: str) -> str:
        """The first of the values that a further part of the path may have."""
        (named,) = [
            parameter for parameter in self.described["parameters"] if parameter["name"] == name
        ]
        return str(named["schema"]["enum"][0])

    def query(self, known: dict[str, Any]) -> dict[str, Any]:
        """Those of the ``known`` values that it may be asked with."""
        types = {"integer": int, "string": str}
        return {
            parameter["name"]: known[parameter["name"]]
            for parameter in self.described.get("parameters", ())
            if parameter["in"] == "query"
            and isinstance(
                known.get(parameter["name"]), types.get(parameter["schema"].get("type"), ())
            )
        }

    def body(self, known: dict[str, Any]) -> Schema:
        """What the schema asks for, by ``known`` values for the fields that it has of them."""
        content = self.described.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return {}
        return _example(content["application/json"]["schema"], known) or {}


@functools.cache
def schema() -> Schema:
    """The OpenAPI document."""
    return SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


@functools.cache
def operations() -> tuple[Operation, ...]:
    """All of them."""
    return tuple(
        Operation(method, path, described)
        for path, methods in schema()["paths"].items()
        for method, described in methods.items()
        if method in METHODS
    )


def _example(described: Schema, known: dict[str, Any], name: str = "") -> Any:
    if name in known:
        return known[name]
    if "$ref" in described:
        return _example(schema()["components"]["schemas"][described["$ref"].split("/")[-1]], known)
    for several in ("allOf", "oneOf", "anyOf"):
        if several in described:
            return _example(described[several][0], known)
    if "enum" in described:
        return described["enum"][0]
    if described.get("type") == "object":
        return {
            field: _example(inner, known, field)
            for field, inner in described.get("properties", {}).items()
            if not inner.get("readOnly")
        }
    if described.get("type") == "array":
        return [_example(described["items"], known)]
    return _plain(described)


def _plain(described: Schema) -> Any:
    match described.get("type"):
        case "integer" | "number":
            return described.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            return EXAMPLES.get(described.get("format", ""), "x")
        case _:
            return {}
