"""What there is to know of each kind of call, and which tasks and protocols it is for.

A new kind is a row of ``KINDS``, and its place in the two tables below it.
"""

from collections.abc import Mapping

from msgspec import Struct

from router.domain.request import Kind


class KindRow(Struct, frozen=True):
    """A kind of call.

    ``operation`` is its name in traces. ``path`` is where OpenAI-compatible workers take it, and
    ``prompt`` the field of the prompt; empty for tensors. What ``generates`` answers token by
    token, and may be streamed.
    """

    operation: str
    path: str = ""
    prompt: str = ""
    generates: bool = False


KINDS: Mapping[Kind, KindRow] = {
    Kind.CHAT: KindRow("chat", "/v1/chat/completions", "messages", generates=True),
    Kind.COMPLETION: KindRow("text_completion", "/v1/completions", "prompt", generates=True),
    Kind.EMBEDDING: KindRow("embeddings", "/v1/embeddings", "input"),
    Kind.INFER: KindRow("infer"),
}
"""The operations are those of OpenTelemetry's conventions, but for ``infer``, which is ours."""

TASK_KINDS: Mapping[str, frozenset[Kind]] = {
    "chat": frozenset({Kind.CHAT, Kind.COMPLETION}),
    "embeddings": frozenset({Kind.EMBEDDING, Kind.INFER}),
    "tabular": frozenset({Kind.INFER}),
    "vision": frozenset({Kind.INFER}),
}
MARKET_KINDS: Mapping[str, frozenset[Kind]] = {
    "openai": frozenset({Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING}),
    "oip": frozenset({Kind.INFER, Kind.EMBEDDING}),
    "oip_grpc": frozenset({Kind.INFER, Kind.EMBEDDING}),
}
OWN_OPENAI, OWN_ANTHROPIC = "own_openai", "own_anthropic"
"""Of organisations' own endpoints: they are called with a key, and at other addresses."""
PROTOCOL_KINDS: Mapping[str, frozenset[Kind]] = {
    **MARKET_KINDS,
    OWN_OPENAI: MARKET_KINDS["openai"],
    OWN_ANTHROPIC: frozenset({Kind.CHAT}),
}


def speaks(protocol: str, task: str) -> bool:
    """Whether workers of a protocol can serve a task."""
    return not TASK_KINDS[task].isdisjoint(PROTOCOL_KINDS[protocol])


def protocols_of(task: str) -> tuple[str, ...]:
    """The protocols that can serve a task in the market."""
    return tuple(protocol for protocol in MARKET_KINDS if speaks(protocol, task))
