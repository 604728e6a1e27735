"""``python -m tests.architecture.api_reference``: list the management API's operations."""

import os
from typing import Any

import django

from tests.architecture.pages import REFERENCE

PAGE = REFERENCE / "management-operations.md"
HEAD = """# Operations of the management API

Every operation under `/api/v1/`, by resource. [The management API](management-api.md) says what the
resources are, and `GET /api/schema/` has all fields (OpenAPI). This page is written by
`python -m tests.architecture.api_reference`.
"""
METHODS = ("get", "post", "put", "patch", "delete")


def reference() -> str:
    """The page."""
    from drf_spectacular.generators import SchemaGenerator

    paths: dict[str, dict[str, Any]] = SchemaGenerator().get_schema(public=True)["paths"]
    text = HEAD
    heading = ""
    for path, operations in sorted(paths.items()):
        resource = path.removeprefix("/api/v1/").split("/{")[0].split("/")[0]
        if resource != heading:
            heading = resource
            text += f"\n## {resource}\n\n| Operation | What it does | Parameters |\n|---|---|---|\n"
        for method in METHODS:
            if method in operations:
                text += row(method, path, operations[method])
    return text


def row(method: str, path: str, operation: dict[str, Any]) -> str:
    """A line of the table."""
    said = " ".join(operation.get("description", "").split("\n\n")[0].split())
    said = said.replace("``", "`").replace("|", r"\|")
    asked = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    parameters = ", ".join(f"`{name}`" for name in asked)
    return f"| `{method.upper()} {path}` | {said} | {parameters} |\n".replace("|  |", "| |")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings_check")
    django.setup()
    PAGE.write_text(reference())
