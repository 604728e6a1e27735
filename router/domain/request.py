"""One call, as the pipeline sees it: validated by ingress, not yet given to a worker."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from router.domain.pricing import Usage
from router.domain.tracing import traceparent_of

BYTES_PER_TOKEN = 4
"""Used for a worker that reports no usage: the usual figure for English."""

AUTO = "auto"
"""Instead of a model: the router chooses one for the call."""

PRESET_MARK = "@preset/"
"""Before the name of a preset, in a call's model."""

DEADLINE_MS_MAX = 24 * 60 * 60 * 1_000


class Kind(StrEnum):
    """The dialect of the call, which the worker's protocol must be able to serve."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"
    MODERATION = "moderation"
    IMAGE = "image"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    INFER = "infer"


class Modality(StrEnum):
    """The kind of a chat's part that is not text."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"


MODALITIES = {
    "image_url": Modality.IMAGE,
    "input_image": Modality.IMAGE,
    "image": Modality.IMAGE,
    "input_audio": Modality.AUDIO,
    "audio_url": Modality.AUDIO,
    "video_url": Modality.VIDEO,
    "file": Modality.FILE,
    "input_file": Modality.FILE,
}
"""The modality of a chat's part, by the part's type."""


class Priority(StrEnum):
    """How urgent a call is: interactive goes before standard, standard before batch."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


class Sort(StrEnum):
    """What matters most to a call, in place of its route's policy."""

    PRICE = "price"
    LATENCY = "latency"
    THROUGHPUT = "throughput"


class MaxPrice(Struct, frozen=True, gc=False):
    """The most a caller will pay: dollars per million tokens, and per request or image."""

    prompt: float | None = None
    completion: float | None = None
    request: float | None = None
    image: float | None = None


def tighter(one: MaxPrice | None, other: MaxPrice | None) -> MaxPrice | None:
    """What both allow."""
    if one is None or other is None:
        return one or other
    return MaxPrice(
        *(
            min((limit for limit in limits if limit is not None), default=None)
            for limits in zip(
                msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True
            )
        )
    )


class DataCollection(StrEnum):
    """Whether providers that keep prompts or answers may be used."""

    ALLOW = "allow"
    DENY = "deny"


Wanted = Annotated[float, Meta(gt=0)]


class Percentiles(Struct, frozen=True, gc=False):
    """A wish about percentiles of a measured value."""

    p50: Wanted | None = None
    p75: Wanted | None = None
    p90: Wanted | None = None
    p99: Wanted | None = None


def percentiles(wish: float | Percentiles | None) -> Percentiles:
    """A wish in percentiles: a bare number is about the median."""
    return wish if isinstance(wish, Percentiles) else Percentiles(p50=wish)


class Wishes(Struct, frozen=True, gc=False, rename=None):
    """A request's own routing wishes (the field ``provider`` of OpenAI-shaped calls).

    ``preferred_max_latency`` is in seconds, ``preferred_min_throughput`` in tokens a second.
    ``max_fallback_price`` is about the models that the call falls back to. ``deadline_ms`` counts
    from arrival, 0 is none.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: DataCollection = DataCollection.ALLOW
    quantizations: tuple[str, ...] = ()
    sort: Sort | None = None
    max_price: MaxPrice | None = None
    max_fallback_price: MaxPrice | None = None
    preferred_max_latency: Wanted | Percentiles | None = None
    preferred_min_throughput: Wanted | Percentiles | None = None
    deadline_ms: Annotated[int, Meta(ge=0, le=DEADLINE_MS_MAX)] = 0
    priority: Priority = Priority.STANDARD


NO_WISHES = Wishes()


class App(Struct, frozen=True, gc=False):
    """The application that a call says it is of: a public host name in small letters, and a title.

    ``host`` is "" for none.
    """

    host: str = ""
    title: str = ""


NO_APP = App()


class AsResponse(Struct, frozen=True, gc=False):
    """A chat in the words of OpenAI's responses, in which it came.

    ``fields`` are the top-level JSON fields; what the call goes on from, or refers to, is in its
    ``input``. ``unsaid`` says what of it a chat cannot say, and ``param`` in which field that is;
    it is "" for a call that any worker of chats can take.
    """

    fields: Mapping[str, msgspec.Raw]
    unsaid: str = ""
    param: str = ""


class InferenceRequest(Struct, frozen=True, gc=False):
    """A validated call.

    ``fields`` are the top-level JSON fields as raw bytes (OpenAI shapes). ``payload`` is the body
    as it came (OIP) or a form's file, and ``payload_headers`` describe it. ``bound`` is the most
    that the call can consume. ``prompt_bytes`` counts the bytes of its text; tokens that a prompt
    lists count as the bytes of as much text. ``aside_bytes`` counts whatever else a worker may put
    into a prompt. ``texts`` is the number of prompts. ``prompt_tokens_min`` is the least that the
    longest prompt has in any vocabulary. ``modalities`` is what the prompt holds besides text.

    ``traceparent`` and ``parent_span_id`` come from
    :func:`router.domain.tracing.traceparent_of`. ``end_user`` is that of the header, whatever the
    body says. ``asked`` is what the call names if that is no model (a preset's version, ``auto``),
    ``why`` says how its model was chosen then, and ``needs`` are the fields that its workers must
    act on. ``masked`` counts, by kind, the personal data that marks stand for in ``fields``.
    ``fallbacks`` are models to try when ``model`` cannot serve it. ``arrived_s`` is on the
    monotonic clock, ``created_at_ms`` is Unix time. ``as_response`` is the same call for workers
    that speak OpenAI's responses, if it came so.
    """

    id: str
    kind: Kind
    model: str
    bound: Usage
    arrived_s: float
    created_at_ms: int
    traceparent: str = ""
    parent_span_id: str = ""
    app: App = NO_APP
    end_user: str = ""
    asked: str = ""
    why: str = ""
    masked: tuple[tuple[str, int], ...] = ()
    fallbacks: tuple[str, ...] = ()
    prompt_bytes: int = 0
    aside_bytes: int = 0
    texts: int = 1
    prompt_tokens_min: int = 0
    modalities: frozenset[Modality] = frozenset()
    completion_tokens_asked: int = 0
    choices_asked: int = 1
    stream: bool = False
    include_usage: bool = False
    explain: bool = False
    wishes: Wishes = NO_WISHES
    needs: frozenset[str] = frozenset()
    fields: Mapping[str, msgspec.Raw] = {}
    as_response: AsResponse | None = None
    payload: bytes = b""
    payload_headers: tuple[tuple[str, str], ...] = ()

    @property
    def unsaid(self) -> str:
        """What of the call no chat can say, "" for nothing."""
        return self.as_response.unsaid if self.as_response is not None else ""

    @property
    def prompt_tokens(self) -> int:
        """The estimated length of the prompt, until a worker has counted it."""
        return self.prompt_bytes // BYTES_PER_TOKEN


def masked_text(request: InferenceRequest) -> str:
    """What was masked, like ``card=1, email=2``; "" for nothing."""
    if not request.masked:
        return ""
    return ", ".join([f"{kind}={count}" for kind, count in request.masked])


def fallen_back(request: InferenceRequest, id_: str) -> InferenceRequest:
    """The call of the next model, by the prices that the caller allows to it."""
    model, *others = request.fallbacks
    wishes = request.wishes
    if wishes.max_fallback_price is not None:
        most = tighter(wishes.max_price, wishes.max_fallback_price)
        wishes = msgspec.structs.replace(wishes, max_price=most)
    return msgspec.structs.replace(
        request, id=id_, model=model, fallbacks=tuple(others), wishes=wishes
    )


def prioritised(request: InferenceRequest, priority: Priority) -> InferenceRequest:
    """The call with a priority from outside of its body, if the body asks for none."""
    if request.wishes.priority is not Priority.STANDARD:
        return request
    wishes = msgspec.structs.replace(request.wishes, priority=priority)
    return msgspec.structs.replace(request, wishes=wishes)


def traced(request: InferenceRequest, incoming: str, share: float | None) -> InferenceRequest:
    """The call as part of its caller's trace: see :func:`router.domain.tracing.traceparent_of`."""
    traceparent, parent = traceparent_of(incoming, request.id, share)
    return msgspec.structs.replace(request, traceparent=traceparent, parent_span_id=parent)
