"""Rejects texts that PostgreSQL cannot store, where requests come in."""

from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 32
"""The deepest nesting of objects and lists in a body."""


def unkept(text: str) -> str:
    """Why PostgreSQL cannot store the text; "" if it can."""
    if "\0" in text:
        return "a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "half of a surrogate pair"
    return ""


def unkept_in(value: Any) -> str:
    """The first such reason in a parsed body, or its depth; "" if there is none."""
    return next(_unkept_in(value, 1), "")


def _unkept_in(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if found := unkept(value):
            yield f"A text has {found}, which nothing here can keep."
    elif isinstance(value, float):
        # JSON has no infinity, but 1e999 parses to one.
        if value in (float("inf"), float("-inf")):
            yield "A number is too large."
    elif isinstance(value, dict | list):
        if depth > DEPTH_MAX:
            yield f"Objects and lists may be {DEPTH_MAX} deep."
            return
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        for child in inner:
            yield from _unkept_in(child, depth + 1)
