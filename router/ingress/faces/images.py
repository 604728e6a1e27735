"""OpenAI's images, made from a prompt."""

import msgspec
from msgspec import Raw

from router.domain.errors import RequestInvalid
from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import COUNT, TEXT, list_of, object_with, operation
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import Body
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.whole import WholeClient
from router.ingress.http.exchange import Exchange
from router.ingress.unfit import missing
from router.pipeline.settlement.route_report import Report

PATH = "/v1/images/generations"
IMAGES_MAX = 10
PROMPT_CHARACTERS_MAX = 32_000


class ImageBody(Body, gc=False):
    """``/v1/images/generations``."""

    prompt: str | None = None
    size: str | None = None
    response_format: str | None = None


FORMATS = ("b64_json", "url")


def _asked(body: ImageBody) -> Asked:
    if body.prompt is None:
        raise missing("prompt")
    if not body.prompt.strip():
        raise RequestInvalid("prompt is empty; say what the image shows", param="prompt")
    if len(body.prompt) > PROMPT_CHARACTERS_MAX:
        raise RequestInvalid(
            f"prompt has {len(body.prompt)} characters; it may have {PROMPT_CHARACTERS_MAX}",
            param="prompt",
        )
    images = 1 if body.n is None else body.n
    if not 1 <= images <= IMAGES_MAX:
        raise RequestInvalid(f"n is {images}; it must be 1 to {IMAGES_MAX}", param="n")
    if body.response_format is not None and body.response_format not in FORMATS:
        raise RequestInvalid(
            f"response_format is {body.response_format!r}; it must be {' or '.join(FORMATS)}",
            param="response_format",
        )
    if body.stream:
        raise RequestInvalid("images are not streamed here; leave out stream", param="stream")
    return Asked(images_made=images)


SHAPE = Shape(Kind.IMAGE, msgspec.json.Decoder(ImageBody).decode, _asked)

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    call = parse_call(SHAPE, exchange.body, arrival)
    created_s = call.created_at_ms // 1000

    def written(answer: bytes, report: Report | None) -> bytes:
        body: dict[str, object] = {"created": created_s, **_decode_fields(answer)}
        if report is not None:
            body["route"] = report
        return _encode(body)

    return call, lambda sink, _call, _progress: WholeClient(sink, written)


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=b"",
    described={
        PATH: {"post": operation("OpenAI images from a prompt.", "Images", takes="ImageRequest")}
    },
    schemas={
        "ImageRequest": object_with(
            {"model": TEXT, "prompt": TEXT | {"minLength": 1}},
            {
                "n": {"type": "integer", "minimum": 1, "maximum": IMAGES_MAX},
                "size": TEXT,
                "response_format": {"enum": list(FORMATS)},
            },
        ),
        "Images": object_with(
            {
                "created": COUNT,
                "data": list_of(object_with({}, {"b64_json": TEXT, "url": TEXT}), 1),
            },
            {"model": TEXT, "usage": {"type": "object"}},
        ),
    },
)
