"""What defines a pipeline: its stages in their order, and what comes out. Pure.

A stage takes values of the pipeline's input and of stages before it, so there can be no circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import jsonschema_rs
import msgspec

from marketplace.catalog.models import AIModel, Task
from marketplace.pipelines.kinds import (
    NotThere,
    Schema,
    fits,
    input_schema,
    output_schema,
    schema_at,
)
from marketplace.pipelines.templates import (
    Reference,
    TemplateInvalid,
    at_place,
    references_of,
)

INPUT = "input"
"""What the pipeline's own input is called in paths. No stage may be called so."""
STAGES_MAX = 8
BYTES_MAX = 64 * 1024
NAME = r"^[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*$"
OWN_FIELDS = ("model", "stream_options")
"""Fields of a call that a prediction sets itself."""


class DefinitionInvalid(Exception):
    """The definition cannot be used; the message begins with the place of what is wrong."""


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
        raise DefinitionInvalid(f"a definition has at most {BYTES_MAX:,} bytes")
    try:
        definition = msgspec.json.decode(text, type=Definition)
    except msgspec.ValidationError as error:
        raise DefinitionInvalid(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise DefinitionInvalid(f"this is no JSON: {error}") from error
    _check_schema(definition)
    known = {INPUT}
    for at, stage in enumerate(definition.stages):
        if stage.name in known:
            raise DefinitionInvalid(f"stages[{at}].name: {stage.name!r} is taken")
        _check_heads(references_in(stage.input, f"stages[{at}].input"), known, f"stages[{at}]")
        known.add(stage.name)
    _check_heads(references_in(definition.output, "output"), known, "output")
    return definition


def definition_check(definition: Definition, models: Mapping[str, AIModel]) -> None:
    """Check it against the models that there are. Raises :class:`DefinitionInvalid`."""
    known: dict[str, Schema] = {INPUT: definition.input_schema}
    for at, stage in enumerate(definition.stages):
        model = models.get(stage.model)
        if model is None:
            raise DefinitionInvalid(f"stages[{at}].model: there is no model {stage.model!r}")
        place = f"stages[{at}].input"
        _check_fields(model, stage.input, place)
        for reference in references_in(stage.input, place):
            _check_reference(reference, known, input_schema(model), place)
        known[stage.name] = output_schema(model)
    for reference in references_in(definition.output, "output"):
        _check_reference(reference, known, {}, "output")


def references_in(template: Any, at: str) -> list[Reference]:
    """The paths of a template. Raises :class:`DefinitionInvalid`."""
    try:
        return references_of(template, at)
    except TemplateInvalid as error:
        raise DefinitionInvalid(f"{error.at}: {error}") from error


def _check_heads(references: Iterable[Reference], known: set[str], at: str) -> None:
    for reference in references:
        if reference.path.head not in known:
            raise DefinitionInvalid(
                f"{at}: {reference.path.text} is of {reference.path.head!r}, which is neither "
                "the input nor a stage before it"
            )


def _check_schema(definition: Definition) -> None:
    try:
        jsonschema_rs.Draft202012Validator(
            definition.input_schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise DefinitionInvalid(f"input_schema: {str(error)[:300]}") from error


def _check_fields(model: AIModel, given: Mapping[str, Any], place: str) -> None:
    if model.task in (Task.CHAT, Task.EMBEDDINGS):
        wanted = {"messages", "prompt"} if model.task == Task.CHAT else {"input"}
        if not wanted & given.keys():
            raise DefinitionInvalid(f"{place}: {' or '.join(sorted(wanted))} is missing")
        for name in OWN_FIELDS:
            if name in given:
                raise DefinitionInvalid(f"{place}.{name}: a stage sets this itself")
        return
    names = [str(tensor["name"]) for tensor in model.tensors.get("inputs", ())]
    if not names:
        raise DefinitionInvalid(f"{place}: nobody has said which tensors {model.name} takes")
    for name in {*names} ^ {*given}:
        raise DefinitionInvalid(f"{place}: {model.name} takes {', '.join(names)}, see {name!r}")


def _check_reference(
    reference: Reference, known: Mapping[str, Schema], wanted: Schema, place: str
) -> None:
    path, at = reference.path, at_place(place, reference.place)
    try:
        given = schema_at(known[path.head], path.steps)
    except NotThere as error:
        raise DefinitionInvalid(f"{at}: {path.text}: {error}") from error
    try:
        target = schema_at(wanted, reference.place)
    except NotThere:
        return  # A tensor as shape and data: what comes is checked when it runs.
    if reference.is_piece:
        given = {"type": "string"}
    if not fits(given, target):
        raise DefinitionInvalid(f"{at}: {path.text} is {given}, and {target} is taken here")
