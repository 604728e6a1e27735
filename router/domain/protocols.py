"""Which protocols can serve which tasks."""

from collections.abc import Mapping

from router.domain.request import Kind

TASK_KINDS: Mapping[str, frozenset[Kind]] = {
    "chat": frozenset({Kind.CHAT, Kind.COMPLETION}),
    "embeddings": frozenset({Kind.EMBEDDING, Kind.INFER}),
    "tabular": frozenset({Kind.INFER}),
    "vision": frozenset({Kind.INFER}),
}
PROTOCOL_KINDS: Mapping[str, frozenset[Kind]] = {
    "openai": frozenset({Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING}),
    "oip": frozenset({Kind.INFER, Kind.EMBEDDING}),
    "oip_grpc": frozenset({Kind.INFER, Kind.EMBEDDING}),
}


def speaks(protocol: str, task: str) -> bool:
    """Whether workers of a protocol can serve a task."""
    return not TASK_KINDS[task].isdisjoint(PROTOCOL_KINDS[protocol])


def protocols_of(task: str) -> tuple[str, ...]:
    """The protocols that can serve a task."""
    return tuple(protocol for protocol in PROTOCOL_KINDS if speaks(protocol, task))
