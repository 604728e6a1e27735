"""What there is to know of each kind of call, and which tasks and protocols it is for.

A new kind is a row of ``KINDS``, its task a row of ``TASKS``, and its place in ``MARKET_KINDS``.
"""

from collections.abc import Mapping

from msgspec import Struct

from router.domain.request import Kind


class KindRow(Struct, frozen=True):
    """A kind of call.

    ``operation`` is its name in traces. ``path`` is where OpenAI-compatible workers take it, and
    ``prompt`` the field of the prompt; empty for tensors and forms. What ``generates`` answers
    token by token, and may be streamed. ``gives`` is how the type of an answer begins that is
    bytes, which are always streamed.
    """

    operation: str
    path: str = ""
    prompt: str = ""
    generates: bool = False
    gives: str = ""

    @property
    def is_json(self) -> bool:
        """Whether a call and its answer are JSON."""
        return bool(self.prompt) and not self.gives

    @property
    def counts_tokens(self) -> bool:
        """Whether workers report the tokens of a call."""
        return self.is_json


KINDS: Mapping[Kind, KindRow] = {
    Kind.CHAT: KindRow("chat", "/v1/chat/completions", "messages", generates=True),
    Kind.COMPLETION: KindRow("text_completion", "/v1/completions", "prompt", generates=True),
    Kind.EMBEDDING: KindRow("embeddings", "/v1/embeddings", "input"),
    Kind.RERANK: KindRow("rerank", "/v1/rerank", "documents"),
    Kind.MODERATION: KindRow("moderation", "/v1/moderations", "input"),
    Kind.IMAGE: KindRow("image_generation", "/v1/images/generations", "prompt"),
    Kind.SPEECH: KindRow("speech", "/v1/audio/speech", "input", gives="audio/"),
    Kind.TRANSCRIPTION: KindRow("transcription", "/v1/audio/transcriptions"),
    Kind.INFER: KindRow("infer"),
}
"""The operations are those of OpenTelemetry's conventions, but for those that it does not name."""


class TaskRow(Struct, frozen=True):
    """What a model may be for.

    ``kinds`` are the calls that it takes, the usual one first. ``unit`` is what is counted as a
    call's rows, and the item of its charges. ``takes`` and ``gives`` are modalities.
    """

    kinds: tuple[Kind, ...]
    unit: str = "rows"
    takes: tuple[str, ...] = ("tensors",)
    gives: tuple[str, ...] = ("tensors",)


TASKS: Mapping[str, TaskRow] = {
    "chat": TaskRow((Kind.CHAT, Kind.COMPLETION), takes=("text",), gives=("text",)),
    "embeddings": TaskRow((Kind.EMBEDDING, Kind.INFER), takes=("text",), gives=("embeddings",)),
    "rerank": TaskRow((Kind.RERANK,), "search_units", takes=("text",), gives=("scores",)),
    "moderation": TaskRow((Kind.MODERATION,), "inputs", takes=("text",), gives=("scores",)),
    "image": TaskRow((Kind.IMAGE,), takes=("text",), gives=("image",)),
    "speech": TaskRow((Kind.SPEECH,), "characters", takes=("text",), gives=("audio",)),
    "transcription": TaskRow(
        (Kind.TRANSCRIPTION,), "audio_seconds", takes=("audio",), gives=("text",)
    ),
    "tabular": TaskRow((Kind.INFER,)),
    "vision": TaskRow((Kind.INFER,)),
}
TASK_KINDS: Mapping[str, frozenset[Kind]] = {
    name: frozenset(task.kinds) for name, task in TASKS.items()
}
MARKET_KINDS: Mapping[str, frozenset[Kind]] = {
    "openai": frozenset(kind for kind, row in KINDS.items() if row.path),
    "oip": frozenset({Kind.INFER, Kind.EMBEDDING, Kind.RERANK, Kind.MODERATION}),
    "oip_grpc": frozenset({Kind.INFER, Kind.EMBEDDING, Kind.RERANK, Kind.MODERATION}),
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


def generates(task: str) -> bool:
    """Whether a task's models answer token by token."""
    return KINDS[TASKS[task].kinds[0]].generates


def usual_kind(task: str) -> KindRow | None:
    """How a task's models are usually called; None if they take tensors."""
    kind = KINDS[TASKS[task].kinds[0]]
    return kind if kind.path else None
