"""OpenAI's speech: a text becomes sound, whose bytes are passed on as they come."""

from typing import Any

import msgspec

from router.domain.errors import CallError, RequestInvalid
from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import NUMBER, TEXT, object_with, operation
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import Body
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.http.exchange import Exchange, Headers, Sink
from router.ingress.progress import Progress
from router.ingress.unfit import missing
from router.pipeline.settlement.route_report import Report

PATH = "/v1/audio/speech"
CHARACTERS_MAX = 4_096
FORMATS = ("aac", "flac", "mp3", "opus", "pcm", "wav")
SPEED_MIN, SPEED_MAX = 0.25, 4.0
AUDIO = "audio"


class SpeechBody(Body, gc=False):
    """``/v1/audio/speech``. A voice is a name, or an object that names one."""

    input: str | None = None
    voice: str | dict[str, Any] | None = None
    response_format: str | None = None
    stream_format: str | None = None
    speed: float | None = None


def _asked(body: SpeechBody) -> Asked:
    text = body.input
    if text is None:
        raise missing("input")
    if not text.strip():
        raise RequestInvalid("input is empty; give a text to speak", param="input")
    if len(text) > CHARACTERS_MAX:
        raise RequestInvalid(
            f"input has {len(text)} characters; it may have {CHARACTERS_MAX}", param="input"
        )
    if not body.voice:
        raise missing("voice")
    if body.response_format is not None and body.response_format not in FORMATS:
        raise RequestInvalid(
            f"response_format is {body.response_format!r}; it must be one of {', '.join(FORMATS)}",
            param="response_format",
        )
    if body.stream_format not in (None, AUDIO):
        raise RequestInvalid(
            f"stream_format is {body.stream_format!r}; only audio is served here",
            param="stream_format",
        )
    if body.speed is not None and not SPEED_MIN <= body.speed <= SPEED_MAX:
        raise RequestInvalid(
            f"speed is {body.speed:g}; it must be {SPEED_MIN:g} to {SPEED_MAX:g}", param="speed"
        )
    return Asked(rows=len(text))


SHAPE = Shape(Kind.SPEECH, msgspec.json.Decoder(SpeechBody).decode, _asked)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    call = parse_call(SHAPE, exchange.body, arrival)
    return msgspec.structs.replace(call, stream=True), SpeechClient


class SpeechClient:
    """The :class:`router.pipeline.client.Client` of a call."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink, call: InferenceRequest, progress: Progress | None) -> None:
        self._sink = sink

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """Never called: speech is always streamed."""
        raise NotImplementedError

    async def start_stream(self, headers: Headers) -> None:
        """The last header is the type of the sound."""
        await self._sink.start_stream(headers)

    async def send(self, chunk: bytes) -> None:
        """See :class:`router.pipeline.client.Client`."""
        await self._sink.send(chunk)

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """Sound cannot say that it broke off: the error cuts the connection instead."""
        if error is not None:
            raise error
        await self._sink.end_stream()


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=b"",
    described={
        PATH: {
            "post": operation(
                "OpenAI speech: sound as it comes.", "", takes="SpeechRequest", bare="audio/*"
            )
        }
    },
    schemas={
        "SpeechRequest": object_with(
            {"model": TEXT, "input": TEXT | {"minLength": 1}, "voice": TEXT | {"minLength": 1}},
            {
                "response_format": {"enum": list(FORMATS)},
                "speed": NUMBER | {"minimum": SPEED_MIN, "maximum": SPEED_MAX},
            },
        ),
    },
)
