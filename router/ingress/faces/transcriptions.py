"""OpenAI's transcriptions: a recording, sent as a form, becomes text."""

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from router.contracts.bodies.form import FORM, FormInvalid, Part, parts_of
from router.contracts.bodies.sound import is_sound, seconds_most
from router.domain.errors import RequestInvalid
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import NUMBER, TEXT, object_with, operation
from router.ingress.errors import openai_error
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai_answer import OpenAIClient
from router.ingress.http.exchange import Exchange
from router.ingress.unfit import missing

PATH = "/v1/audio/transcriptions"
FILE, MODEL, FORMAT = "file", "model", "response_format"
FORMATS = ("json", "srt", "text", "verbose_json", "vtt")
LISTS = "[]"
"""What the names of fields end with that may be there several times."""

FALSE = ("", "0", "false")
SHOWN_BYTES = 24

_encode = msgspec.json.Encoder().encode


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    try:
        parts = parts_of(exchange.header(b"content-type"), exchange.body)
    except FormInvalid as error:
        raise RequestInvalid(str(error)) from None
    file = next((part for part in parts if part.name == FILE), None)
    if file is None:
        raise missing(FILE)
    sound = file.content
    if not is_sound(sound[:16]):
        began = f"it begins with {sound[:SHOWN_BYTES]!r}" if sound else "it is empty"
        raise RequestInvalid(f"file is no recording: {began}", param=FILE)
    fields = _fields(part for part in parts if part.name != FILE)
    model = fields.pop(MODEL, "")
    if not isinstance(model, str) or not model:
        raise missing(MODEL)
    wanted = fields.get(FORMAT, FORMATS[0])
    if wanted not in FORMATS:
        raise RequestInvalid(
            f"response_format is {wanted!r}; it must be one of {', '.join(FORMATS)}", param=FORMAT
        )
    if fields.pop("stream", "") not in FALSE:
        raise RequestInvalid(
            "transcriptions are not streamed here; leave out stream", param="stream"
        )
    call = InferenceRequest(
        id=arrival.request_id,
        kind=Kind.TRANSCRIPTION,
        model=model,
        bound=Usage(rows=seconds_most(sound)),
        arrived_s=arrival.arrived_s,
        created_at_ms=arrival.created_at_ms,
        explain=arrival.explain,
        fields={name: Raw(_encode(value)) for name, value in fields.items()},
        payload=sound,
        payload_headers=(("filename", file.filename), ("content-type", file.content_type)),
    )
    return call, OpenAIClient


def _fields(parts: Iterable[Part]) -> dict[str, str | list[str]]:
    """The texts of a form. What is there twice, and may not be, is refused."""
    fields: dict[str, str | list[str]] = {}
    for part in parts:
        try:
            text = part.content.decode()
        except UnicodeDecodeError:
            raise RequestInvalid(f"{part.name} is not UTF-8", param=part.name) from None
        earlier = fields.get(part.name)
        if part.name.endswith(LISTS):
            fields[part.name] = [*(earlier or ()), text]
        elif earlier is not None:
            raise RequestInvalid(f"{part.name} is there twice", param=part.name)
        else:
            fields[part.name] = text
    return fields


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=b"",
    described={
        PATH: {
            "post": operation(
                "OpenAI transcriptions of a recording.",
                "Transcription",
                takes="TranscriptionRequest",
                form=FORM,
                bare="text/plain",
            )
        }
    },
    schemas={
        "TranscriptionRequest": object_with(
            {"model": TEXT, "file": {"type": "string", "contentMediaType": "audio/*"}},
            {"response_format": {"enum": list(FORMATS)}, "language": TEXT, "prompt": TEXT},
        ),
        "Transcription": object_with(
            {"text": TEXT}, {"usage": object_with({"type": TEXT, "seconds": NUMBER})}
        ),
    },
)
