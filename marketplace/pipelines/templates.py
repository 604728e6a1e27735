"""How a stage's input is made of values that are known by then: as data, by paths. Pure.

A template is JSON in which ``{"$from": "embed.data[0].embedding"}`` stands for the value at a path,
and ``{"$text": ["Say: ", {"$from": "input.text"}]}`` for a text of several pieces. ``[*]`` takes
every item of a list.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

FROM = "$from"
TEXT = "$text"
EVERY = "*"
STEPS_MAX = 16
DEPTH_MAX = 16
REFERENCES_MAX = 16
"""Paths in one template."""
_NAME = r"[A-Za-z0-9_-]{1,80}"
_STEP = re.compile(rf"\.(?P<key>{_NAME})|\[(?P<index>[0-9]{{1,6}}|\*)\]")
_HEAD = re.compile(_NAME)

Step = str | int
"""A key, an index, or ``EVERY``; no key can be that."""


class TemplateInvalid(Exception):
    """The template cannot be used; ``at`` is where."""

    def __init__(self, message: str, at: str) -> None:
        super().__init__(message)
        self.at = at


class ValueMissing(Exception):
    """There is nothing at a path; the message says which."""


@dataclass(frozen=True, slots=True)
class Path:
    """``head`` is a stage's name or ``input``."""

    text: str
    head: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A path, and the place in the template that its value comes to.

    ``is_piece`` says that it becomes a piece of a text.
    """

    path: Path
    place: tuple[Step, ...]
    is_piece: bool


def path_read(text: Any, at: str) -> Path:
    """Read a path. Raises :class:`TemplateInvalid`."""
    head = _HEAD.match(text) if isinstance(text, str) else None
    if head is None:
        raise TemplateInvalid(_("a path looks like stage.key[0].key"), at)
    steps: list[Step] = []
    end = head.end()
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None or len(steps) == STEPS_MAX:
            raise TemplateInvalid(
                _("the path %(path)s cannot be read") % {"path": repr(text[:80])}, at
            )
        index = found["index"]
        steps.append(found["key"] or (EVERY if index == EVERY else int(index)))
        end = found.end()
    return Path(text, head[0], tuple(steps))


def references_of(template: Any, at: str) -> list[Reference]:
    """All paths of a template. Raises :class:`TemplateInvalid`."""
    found = list(_references(template, at, ()))
    if len(found) > REFERENCES_MAX:
        raise TemplateInvalid(_("there are more than %(n)s paths") % {"n": REFERENCES_MAX}, at)
    return found


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with values for its paths. Raises :class:`ValueMissing`.

    The template is one that :func:`references_of` has read.
    """
    if isinstance(template, list):
        return [filled(item, values) for item in template]
    if not isinstance(template, dict):
        return template
    if FROM in template:
        path = path_read(template[FROM], "")
        if path.head not in values:
            raise ValueMissing(f"there is no {path.head} yet")
        return _value(values[path.head], path, path.steps)
    if TEXT in template:
        return "".join(_as_text(filled(piece, values)) for piece in template[TEXT])
    return {name: filled(item, values) for name, item in template.items()}


def at_place(at: str, place: tuple[Step, ...]) -> str:
    """``stages[0].input`` and a place below it, for people."""
    return at + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in place)


def _references(template: Any, at: str, place: tuple[Step, ...]) -> Iterator[Reference]:
    here = at_place(at, place)
    if len(place) > DEPTH_MAX:
        raise TemplateInvalid(_("this is deeper than %(n)s levels") % {"n": DEPTH_MAX}, here)
    if isinstance(template, list):
        for index, item in enumerate(template):
            yield from _references(item, at, (*place, index))
    elif isinstance(template, dict):
        if template.keys() & {FROM, TEXT} and len(template) > 1:
            raise TemplateInvalid(
                _("%(one)s or %(other)s must stand alone") % {"one": FROM, "other": TEXT}, here
            )
        if FROM in template:
            yield Reference(path_read(template[FROM], here), place, is_piece=False)
        elif TEXT in template:
            yield from _pieces(template[TEXT], here, place)
        else:
            for name, item in template.items():
                yield from _references(item, at, (*place, name))


def _pieces(pieces: Any, here: str, place: tuple[Step, ...]) -> Iterator[Reference]:
    if not isinstance(pieces, list):
        raise TemplateInvalid(_("%(name)s takes a list of texts and paths") % {"name": TEXT}, here)
    for piece in pieces:
        if isinstance(piece, dict) and piece.keys() == {FROM}:
            yield Reference(path_read(piece[FROM], here), place, is_piece=True)
        elif not isinstance(piece, str):
            raise TemplateInvalid(
                _("a piece of %(name)s is a text or a path") % {"name": TEXT}, here
            )


def _value(value: Any, path: Path, steps: tuple[Step, ...]) -> Any:
    for at, step in enumerate(steps):
        if step == EVERY and isinstance(value, list):
            return [_value(item, path, steps[at + 1 :]) for item in value]
        # A text has no items here.
        holder: Any = value if isinstance(value, list | dict) else {}
        try:
            value = holder[step]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueMissing(f"there is nothing at {path.text}") from error
    return value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
