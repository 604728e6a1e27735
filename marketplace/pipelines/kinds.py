"""What is known of the values that go into models and come out of them, as JSON schemas. Pure.

Of a schema only ``type``, ``properties``, ``additionalProperties`` as false, ``items`` and
``maxItems`` are read. What a schema does not say is not known, and fits everything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from marketplace.catalog.models import AIModel, Task
from marketplace.pipelines.templates import EVERY, Step

Schema = Mapping[str, Any]
ANYTHING: Schema = {}
_TEXT: Schema = {"type": "string"}


class NotThere(Exception):
    """A schema says that there is nothing at a path."""


def _object(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _list(items: Schema = ANYTHING, *, is_one_text: bool = False) -> Schema:
    """Of items; or, where it may be so, a text in place of the list."""
    return {"type": ["array", "string"] if is_one_text else "array", "items": items}


_ANSWER: Mapping[str, Schema] = {
    "id": _TEXT,
    "object": _TEXT,
    "created": {"type": "integer"},
    "model": _TEXT,
    "usage": {"type": "object"},
}
ANSWER_FIELDS = frozenset(_ANSWER) | {"system_fingerprint", "service_tier"}
"""What every answer of OpenAI's API has beside its own."""
_MESSAGE: Schema = {"type": "object", "properties": {"role": _TEXT, "content": _TEXT}}
_CHOICE: Schema = {"type": "object", "properties": {"message": _MESSAGE, "text": _TEXT}}
COMPLETION = _object(
    **_ANSWER,
    system_fingerprint=_TEXT,
    service_tier=_TEXT,
    choices=_list(_CHOICE),
)
VECTOR: Schema = {"type": ["array", "string"], "items": {"type": "number"}}
VECTORS = _object(**_ANSWER, data=_list({"type": "object", "properties": {"embedding": VECTOR}}))
_ASKED: Schema = {
    "type": "object",
    "properties": {"role": _TEXT, "content": _list(is_one_text=True)},
}
CHAT_INPUT: Mapping[str, Schema] = {
    "messages": _list(_ASKED),
    "prompt": _list(is_one_text=True),
}
EMBEDDINGS_INPUT: Mapping[str, Schema] = {"input": _list(is_one_text=True)}
RANKED: Schema = {
    "type": "object",
    "properties": {"index": {"type": "integer"}, "relevance_score": {"type": "number"}},
}
JUDGED: Schema = {
    "type": "object",
    "properties": {
        "flagged": {"type": "boolean"},
        "categories": {"type": "object"},
        "category_scores": {"type": "object"},
    },
}
IMAGE: Schema = {"type": "object", "properties": {"b64_json": _TEXT, "url": _TEXT}}
OUTPUTS: Mapping[str, Schema] = {
    Task.CHAT: COMPLETION,
    Task.EMBEDDINGS: VECTORS,
    Task.RERANK: _object(**_ANSWER, results=_list(RANKED), meta={"type": "object"}),
    Task.MODERATION: _object(**_ANSWER, results=_list(JUDGED)),
    Task.IMAGE: _object(**_ANSWER, data=_list(IMAGE)),
}
INPUTS: Mapping[str, Mapping[str, Schema]] = {
    Task.CHAT: CHAT_INPUT,
    Task.EMBEDDINGS: EMBEDDINGS_INPUT,
    Task.RERANK: {"query": _TEXT, "documents": {"type": "array", "items": _TEXT}},
    Task.MODERATION: {"input": _list(is_one_text=True)},
    Task.IMAGE: {"prompt": _TEXT},
}
"""By task, where a model does not take and give tensors."""


def output_schema(model: AIModel) -> Schema:
    """What comes out of a model."""
    if model.task in OUTPUTS:
        return OUTPUTS[model.task]
    outputs = model.tensors.get("outputs")
    return _object(**_by_name(outputs)) if outputs else {"type": "object"}


def input_schema(model: AIModel) -> Schema:
    """What goes into a model."""
    if model.task in INPUTS:
        own = INPUTS[model.task]
        return {"properties": {**model.input_schema.get("properties", {}), **own}}
    return _object(**_by_name(model.tensors.get("inputs", ())))


def schema_at(schema: Schema, steps: Sequence[Step]) -> Schema:
    """The schema of what is at a path. Raises :class:`NotThere`."""
    for at, step in enumerate(steps):
        if not isinstance(step, int) and step != EVERY:
            schema = _property(schema, step)
            continue
        if not _may_be(schema, "array"):
            raise NotThere(_("%(kind)s has no items") % {"kind": _kinds(schema)})
        most = schema.get("maxItems")
        if isinstance(step, int) and most is not None and step >= most:
            raise NotThere(_("there are %(n)s items, counted from 0") % {"n": most})
        items = _schema(schema.get("items"))
        if step == EVERY:
            return {"type": "array", "items": schema_at(items, steps[at + 1 :])}
        schema = items
    return schema


def fits(given: Schema, wanted: Schema) -> bool:
    """Whether a value of the one schema may be one of the other, as far as both are known."""
    if not _types(given) or not _types(wanted):
        return True
    both = _types(given) & _types(wanted)
    if both == {"array"}:
        return fits(_schema(given.get("items")), _schema(wanted.get("items")))
    return bool(both)


def kind_named(schema: Schema) -> str:
    """A schema in words, as "array of number"; "any" where nothing is said."""
    kinds = _types(schema) - ({"integer"} if "number" in _types(schema) else set())
    if not kinds:
        return "any"
    items = _schema(schema.get("items"))
    of = f" of {kind_named(items)}" if "array" in kinds and _types(items) else ""
    return " or ".join(f"{kind}{of}" if kind == "array" else kind for kind in sorted(kinds))


def _by_name(tensors: Sequence[Mapping[str, Any]]) -> dict[str, Schema]:
    return {str(tensor["name"]): _tensor(tensor) for tensor in tensors}


def _tensor(tensor: Mapping[str, Any]) -> Schema:
    """Nested lists. One of a single dimension is a list too, as is one of none."""
    datatype = tensor["datatype"]
    kind = {"BYTES": "string", "BOOL": "boolean"}.get(datatype, "number")
    schema: Schema = {"type": kind}
    for size in reversed(tensor["shape"] or [1]):
        schema = {"type": "array", "items": schema, **({"maxItems": size} if size > 0 else {})}
    return schema


def _property(schema: Schema, name: str) -> Schema:
    if not _may_be(schema, "object"):
        raise NotThere(_("%(kind)s has no %(name)s") % {"kind": _kinds(schema), "name": repr(name)})
    properties = schema.get("properties", {})
    if name not in properties and schema.get("additionalProperties") is False:
        raise NotThere(
            _("there is no %(name)s; there is %(names)s")
            % {"name": repr(name), "names": ", ".join(sorted(properties))}
        )
    return _schema(properties.get(name))


def _schema(found: Any) -> Schema:
    return found if isinstance(found, dict) else ANYTHING


def _may_be(schema: Schema, kind: str) -> bool:
    return not _types(schema) or kind in _types(schema)


def _types(schema: Schema) -> frozenset[str]:
    """The types that a value may have; none where that is not known."""
    said = schema.get("type", ())
    kinds = {said} if isinstance(said, str) else set(said)
    return frozenset(kinds | ({"integer"} if "number" in kinds else set()))


def _kinds(schema: Schema) -> str:
    return " or ".join(sorted(_types(schema)))
