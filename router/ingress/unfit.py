"""Says what does not fit in a body, in the client's words and never in Python's."""

import re

import msgspec

from router.domain.errors import RequestInvalid

_FIELD = re.compile(r"^\$?\.?(?P<name>[^.\[]*)")
_WANTED = re.compile(r"^Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]+)`")
_QUOTED = re.compile(r"`([^`]+)`")
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def unfit(error: Exception, within: str = "") -> RequestInvalid:
    """An error that names the field. ``within`` is where the decoded part stands in the body.

    What is no ``msgspec.ValidationError`` is another of
    :data:`router.contracts.wire.UNREADABLE`: that part of the body cannot be read at all.
    """
    if not isinstance(error, msgspec.ValidationError):
        return RequestInvalid(f"{within} is not JSON: {error}", param=parameter(within))
    text, _, at = str(error).partition(" - at `")
    path = at.removesuffix("`").removeprefix("$")
    if within:
        separator = "" if path.startswith("[") or not path else "."
        path = within + separator + path.removeprefix(".")
    path = path.removeprefix(".")
    if missing := _MISSING.match(text):
        path = f"{path}.{missing['name']}" if path else missing["name"]
        message = f"{path} is missing"
    elif wrong := _WANTED.match(text):
        wanted = " or ".join(_WORDS.get(name, name) for name in wrong["wanted"].split(" | "))
        message = (
            f"{path or 'the body'} must be {wanted}, not {_WORDS.get(wrong['got'], wrong['got'])}"
        )
    else:
        plain = _QUOTED.sub(lambda found: _WORDS.get(found[1], found[1]), text)
        message = f"{path}: {plain}" if path else plain
    return RequestInvalid(message, param=parameter(path))


def missing(path: str) -> RequestInvalid:
    """The error for a field that must be there and is not."""
    return RequestInvalid(f"{path} is missing", param=parameter(path))


def parameter(path: str) -> str | None:
    """The body's field that a path begins with, which errors name in ``param``."""
    found = _FIELD.match(path)
    return (found["name"] if found else "") or None
