"""What defines a pipeline: its stages in their order, and what comes out. Pure.

A stage takes values of the pipeline's input and of stages before it, so there can be no circle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jsonschema_rs
import msgspec
from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel
from marketplace.catalog.prices import number_text
from marketplace.pipelines.kinds import (
    ANYTHING,
    NotThere,
    Schema,
    fits,
    input_schema,
    kind_named,
    output_schema,
    schema_at,
)
from marketplace.pipelines.templates import (
    Reference,
    TemplateInvalid,
    at_place,
    references_of,
)
from router.domain.protocols import usual_kind

INPUT = "input"
"""What the pipeline's own input is called in paths. No stage may be called so."""
STAGES_MAX = 8
BYTES_MAX = 64 * 1024
NAME = r"^[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*$"
OWN_FIELDS = ("model", "stream_options")
"""Fields of a call that a prediction sets itself."""


@dataclass(frozen=True, slots=True)
class Problem:
    """``at`` is the place of what is wrong, like ``stages[1].input.messages``; "" is all of it."""

    at: str
    message: str

    def __str__(self) -> str:
        return f"{self.at}: {self.message}" if self.at else self.message


class DefinitionInvalid(Exception):
    """The definition cannot be used; ``problems`` are all that were found, in its order."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a model. ``input`` is a template of what the model takes."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    model: Annotated[str, msgspec.Meta(max_length=120)]
    input: dict[str, Any]


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pipeline. ``output`` is a template; ``input_schema`` a JSON schema of what goes in."""

    name: Annotated[str, msgspec.Meta(max_length=120, pattern=NAME)]
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(min_length=1, max_length=STAGES_MAX)]
    output: Any
    display_name: Annotated[str, msgspec.Meta(max_length=120)] = ""
    description: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    input_schema: dict[str, Any] = {}


def definition_read(text: bytes) -> Definition:
    """Read and check what needs no catalog. Raises :class:`DefinitionInvalid`."""
    if len(text) > BYTES_MAX:
        raise DefinitionInvalid(
            Problem(
                "", _("a definition has at most %(n)s bytes") % {"n": number_text(BYTES_MAX, 0)}
            )
        )
    try:
        definition = msgspec.json.decode(text, type=Definition)
    except msgspec.ValidationError as error:
        message, _at, path = str(error).partition(" - at `$")
        raise DefinitionInvalid(Problem(path.rstrip("`").lstrip("."), message)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DefinitionInvalid(
            Problem("", _("this is no JSON: %(why)s") % {"why": error})
        ) from error
    _refuse(_problems_alone(definition))
    return definition


def definition_check(definition: Definition, models: Mapping[str, AIModel]) -> None:
    """Check it against the models that there are. Raises :class:`DefinitionInvalid`."""
    _refuse(_problems_with(definition, models))


def _refuse(problems: Iterator[Problem]) -> None:
    if found := tuple(problems):
        raise DefinitionInvalid(*found)


def _problems_alone(definition: Definition) -> Iterator[Problem]:
    yield from _schema_problems(definition)
    known = {INPUT}
    for at, stage in enumerate(definition.stages):
        if stage.name in known:
            yield Problem(
                f"stages[{at}].name", _("the name %(name)s is taken") % {"name": repr(stage.name)}
            )
        yield from _head_problems(stage.input, f"stages[{at}].input", known)
        known.add(stage.name)
    yield from _head_problems(definition.output, "output", known)


def _problems_with(definition: Definition, models: Mapping[str, AIModel]) -> Iterator[Problem]:
    known: dict[str, Schema] = {INPUT: definition.input_schema}
    for at, stage in enumerate(definition.stages):
        model = models.get(stage.model)
        if model is None:
            yield Problem(
                f"stages[{at}].model", _("there is no model %(name)s") % {"name": repr(stage.model)}
            )
            known[stage.name] = ANYTHING
            continue
        place = f"stages[{at}].input"
        yield from _field_problems(model, stage.input, place)
        for reference in references_of(stage.input, place):
            yield from _reference_problems(reference, known, input_schema(model), place)
        known[stage.name] = output_schema(model)
    for reference in references_of(definition.output, "output"):
        yield from _reference_problems(reference, known, ANYTHING, "output")


def _head_problems(template: Any, place: str, known: set[str]) -> Iterator[Problem]:
    try:
        references = references_of(template, place)
    except TemplateInvalid as error:
        yield Problem(error.at, str(error))
        return
    for reference in references:
        if reference.path.head not in known:
            yield Problem(
                at_place(place, reference.place),
                _("%(path)s is of %(name)s, which is neither the input nor a stage before it")
                % {"path": reference.path.text, "name": repr(reference.path.head)},
            )


def _schema_problems(definition: Definition) -> Iterator[Problem]:
    try:
        jsonschema_rs.Draft202012Validator(
            definition.input_schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        yield Problem("input_schema", str(error)[:300])


def _field_problems(model: AIModel, given: Mapping[str, Any], place: str) -> Iterator[Problem]:
    kind = usual_kind(model.task)
    if kind is not None and not kind.is_json:
        said = _("%(name)s takes or gives sound, so it is no stage") % {"name": model.name}
        yield Problem(place, said)
        return
    if kind is not None:
        wanted = {kind.prompt} | ({"prompt"} if kind.generates else set())
        if not wanted & given.keys():
            yield Problem(place, _("%(names)s is missing") % {"names": " | ".join(sorted(wanted))})
        for name in OWN_FIELDS:
            if name in given:
                yield Problem(f"{place}.{name}", _("a stage sets this itself"))
        return
    names = [str(tensor["name"]) for tensor in model.tensors.get("inputs", ())]
    if not names:
        yield Problem(
            place, _("nobody has said which tensors %(name)s takes") % {"name": model.name}
        )
        return
    for name in sorted({*names} ^ {*given}):
        yield Problem(
            place,
            _("%(model)s takes %(names)s, see %(name)s")
            % {"model": model.name, "names": ", ".join(names), "name": repr(name)},
        )


def _reference_problems(
    reference: Reference, known: Mapping[str, Schema], wanted: Schema, place: str
) -> Iterator[Problem]:
    path, at = reference.path, at_place(place, reference.place)
    try:
        given = schema_at(known[path.head], path.steps)
    except NotThere as error:
        yield Problem(at, f"{path.text}: {error}")
        return
    try:
        target = schema_at(wanted, reference.place)
    except NotThere:
        return  # A tensor as shape and data: what comes is checked when it runs.
    if reference.is_piece:
        given = {"type": "string"}
    if not fits(given, target):
        yield Problem(
            at,
            _("%(path)s is %(given)s, and %(wanted)s is taken here")
            % {"path": path.text, "given": kind_named(given), "wanted": kind_named(target)},
        )
