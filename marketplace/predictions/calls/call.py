"""From a model and an input to the call that answers it. Pure.

The input is what the model's own API takes, without the model's name: ``messages`` for a chat,
``prompt`` for a completion, ``input`` for a response or for embeddings, ``query`` and ``documents``
for a reranking, and tensors by name for the others.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from marketplace.catalog.models import AIModel, Task
from marketplace.predictions.calls.invalid import InputInvalid
from marketplace.predictions.calls.tensors import tensors_of
from router.domain.protocols import KindRow, usual_kind

CHAT = "/v1/chat/completions"
COMPLETION = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGE_CHARACTERS_MAX = 300
OWN_FIELDS = {"model": "beside `input`", "stream_options": "to the answer's own URL, not here"}
"""Fields of a call that a prediction sets itself, and where they belong."""

PROMPTS = {"messages": CHAT, "prompt": COMPLETION, "input": RESPONSES}
"""The API of a chat's model by the field that has the prompt."""
STREAMED = frozenset({CHAT, COMPLETION})
CHOSEN = AIModel(task=Task.CHAT)
"""Instead of the one that the router chooses."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What is posted to the router. ``streams`` says whether the answer is server-sent events."""

    path: str
    body: bytes
    streams: bool


@dataclass(frozen=True, slots=True)
class StandIn:
    """A name that stands for a model: ``auto``, or a preset that adds ``fields`` to the call.

    ``model`` is None where the router chooses one, for a chat.
    """

    name: str
    model: AIModel | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def call_of(asked: AIModel | StandIn, given: Any) -> Call:
    """The call for this input. Raises :class:`InputInvalid` with the path of the wrong field."""
    if not isinstance(given, dict):
        raise InputInvalid("input must be an object of what the model takes", "input")
    named = asked if isinstance(asked, StandIn) else StandIn(asked.name, asked)
    model = named.model or CHOSEN
    kind = usual_kind(model.task)
    if kind is None:
        if named is asked:
            raise InputInvalid(f"{model.name} takes tensors: call it by its own name", "model")
        return _inference(model, given)
    for own, place in OWN_FIELDS.items():
        if own in given:
            raise InputInvalid(f"{own} belongs {place}", f"input.{own}")
    if not kind.is_json:
        raise InputInvalid(
            f"{model.name} takes or gives sound, which no prediction keeps: call {kind.path}",
            "model",
        )
    path = _path_of(kind, given)
    _check_prompt(model, kind, path, {**named.fields, **given})
    if path not in STREAMED:
        whole = {"stream": False} if path == RESPONSES else {}
        return Call(path, _encoded({**given, **whole, "model": named.name}), streams=False)
    own_fields = {"model": named.name, "stream": True, "stream_options": {"include_usage": True}}
    return Call(path, _encoded({**given, **own_fields}), streams=True)


def schema_check(schema: dict[str, Any], given: Any) -> None:
    """Raise :class:`InputInvalid` for the first thing that the schema does not allow.

    A schema that cannot be read judges nothing. Patterns run in linear time and nothing is fetched,
    as providers write schemas.
    """
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        log.warning("a model's schema cannot be read: %s", error)
        return
    wrong = next(validator.iter_errors(given), None)
    if wrong is None:
        return
    at = "input"
    for step in wrong.instance_path:
        at += f"[{step}]" if isinstance(step, int) else f".{step}"
    if missing := getattr(wrong.kind, "property", None):
        raise InputInvalid(f"{missing} is missing", f"{at}.{missing}")
    raise InputInvalid(_cut(wrong.message), at)


def _path_of(kind: KindRow, given: Mapping[str, Any]) -> str:
    """By what is given: a chat's model answers in three APIs."""
    if not kind.generates:
        return kind.path
    found = (path for name, path in PROMPTS.items() if name in given)
    return next(found, CHAT)


def _check_prompt(model: AIModel, kind: KindRow, path: str, given: dict[str, Any]) -> None:
    if path == RESPONSES:
        return  # The schema is a chat's, whose tools look otherwise: the router checks all of it.
    schema = model.input_schema
    if path == COMPLETION:
        # The schema is a chat's: its parameters hold for a completion too.
        schema = {"properties": schema.get("properties", {})}
    elif kind.prompt not in given:
        raise InputInvalid(f"{kind.prompt} is missing", f"input.{kind.prompt}")
    schema_check(schema, given)


def _inference(model: AIModel, given: dict[str, Any]) -> Call:
    declared = model.tensors.get("inputs")
    if not declared:
        raise InputInvalid(f"nobody has said which tensors {model.name} takes", "input")
    schema = model.input_schema
    properties = {
        name: _tensor_schema(item, given.get(name))
        for name, item in schema.get("properties", {}).items()
    }
    inputs = tensors_of(declared, given)
    schema_check({**schema, "properties": properties}, given)
    path = f"/v2/models/{quote(model.name)}/infer"
    return Call(path, _encoded({"inputs": inputs}), streams=False)


def _tensor_schema(schema: Any, given: Any) -> Any:
    """Of a tensor given as nested lists: an image is numbers here, and a file in the playground."""
    is_image = isinstance(schema, dict) and "contentMediaType" in schema
    return True if is_image or isinstance(given, dict) else schema


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + "…"
