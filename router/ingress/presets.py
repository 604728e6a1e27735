"""Presets: what an organisation's calls say by a name.

``@preset/<name>`` as a call's model stands for the preset's model and fields,
``author/slug@preset/<name>`` for its fields alone. What a call says itself is stronger.
"""

import msgspec
from msgspec import Raw, Struct

from router.contracts.wire import UNREADABLE
from router.domain.errors import PresetUnknown, RequestInvalid
from router.domain.request import PRESET_MARK as MARK
from router.ingress.faces.messages import face as messages
from router.ingress.faces.responses import face as responses
from router.pipeline.plans.routing_table import Grant, RoutingTable

MARK_BYTES = MARK.removesuffix("/").encode()
"""What every body that names a preset has. Some clients write a slash with a backslash."""
INSTRUCTIONS = {
    messages.PATH: "system",
    messages.COUNT_PATH: "system",
    responses.PATH: "instructions",
}
"""The field for instructions, by path. Elsewhere they are the first of ``messages``."""

INSTRUCT = frozenset({"developer", "system"})
"""Roles of messages that are instructions."""


class _Message(Struct, gc=False):
    role: str = ""


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_first = msgspec.json.Decoder(list[_Message]).decode
_encode = msgspec.json.Encoder().encode


def applied(table: RoutingTable, grant: Grant, path: str, body: bytes) -> tuple[bytes, str]:
    """The body with what its preset says, and ``@preset/<name>@<version>``.

    A body without a preset is as it was, and the name "". Raises ``PresetUnknown``, also for
    another organisation's preset, or ``RequestInvalid`` if neither names a model.
    """
    try:
        fields = _decode_fields(body)
        model = msgspec.json.decode(fields["model"], type=str)
    except (KeyError, *UNREADABLE):
        return body, ""
    model, mark, name = model.partition(MARK)
    if not mark:
        return body, ""
    preset = table.presets.get((grant.organisation_id, name))
    if preset is None:
        raise PresetUnknown(
            f"your organisation has no preset {name!r}; its Presets page lists those that it has",
            param="model",
        )
    model = model or preset.model
    if not model:
        raise RequestInvalid(
            f"preset {name!r} names no model; call author/slug{MARK}{name}", param="model"
        )
    merged = _decode_fields(preset.fields) | fields | {"model": Raw(_encode(model))}
    if preset.system:
        _instruct(path, merged, preset.system)
    return _encode(merged), f"{MARK}{name}@{preset.version}"


def _instruct(path: str, fields: dict[str, Raw], system: str) -> None:
    """Add instructions, unless the call has its own."""
    own = INSTRUCTIONS.get(path)
    if own is not None:
        fields.setdefault(own, Raw(_encode(system)))
        return
    try:
        first = _decode_first(fields["messages"])[:1]
        items = _decode_items(fields["messages"])
    except (KeyError, *UNREADABLE):
        return  # No chat, or one that its face refuses.
    if first and first[0].role not in INSTRUCT:
        instructions = Raw(_encode({"role": "system", "content": system}))
        fields["messages"] = Raw(_encode([instructions, *items]))
