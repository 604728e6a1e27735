"""Which texts no table of ours can keep: asked once, where they come in."""

from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 32
"""Objects and lists inside each other that a body may have."""


def unkept(text: str) -> str:
    """What PostgreSQL and UTF-8 have no place for in it, in words; "" where they keep it all."""
    if "\0" in text:
        return "a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "half of a surrogate pair"
    return ""


def unkept_in(value: Any) -> str:
    """The first such thing in a parsed body (or its depth), in words; "" where there is none."""
    return next(_unkept_in(value, 1), "")


def _unkept_in(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if found := unkept(value):
            yield f"A text has {found}, which nothing here can keep."
    elif isinstance(value, float):
        # JSON has no word for them, but 1e999 is one.
        if value in (float("inf"), float("-inf")):
            yield "A number is too large."
    elif isinstance(value, dict | list):
        if depth > DEPTH_MAX:
            yield f"Objects and lists may be {DEPTH_MAX} deep."
            return
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        for one in inner:
            yield from _unkept_in(one, depth + 1)
