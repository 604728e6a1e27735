"""OpenAI's moderations: whether texts, and images beside them, are flagged, and for what."""

from functools import partial

import msgspec
from msgspec import Raw, Struct

from router.domain.errors import RequestInvalid
from router.domain.request import InferenceRequest, Kind, Modality
from router.ingress.describing import FLAG, TEXT, list_of, object_with, operation
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import TEXT_ALONE, Body
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.media import check_image_url
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.whole import WholeClient
from router.ingress.http.exchange import Exchange
from router.ingress.unfit import missing
from router.pipeline.guarding.judging import GUARDRAIL
from router.pipeline.settlement.route_report import Report

PATH = "/v1/moderations"
INPUTS_MAX = 1_000
INPUT = "input"


class _ImageURL(Struct, gc=False):
    url: str


class _Part(Struct, gc=False):
    type: str
    text: str | None = None
    image_url: _ImageURL | None = None


class ModerationBody(Body, gc=False):
    """``/v1/moderations``: a text, several, or one input made of parts."""

    input: str | list[str | _Part] | None = None


def _asked(body: ModerationBody) -> Asked:
    given = body.input
    if given is None:
        raise missing(INPUT)
    if isinstance(given, str):
        return Asked(texts=1, rows=1)
    if not 1 <= len(given) <= INPUTS_MAX:
        raise RequestInvalid(
            f"input has {len(given)} entries; send 1 to {INPUTS_MAX}, or one text", param=INPUT
        )
    parts = [part for part in given if not isinstance(part, str)]
    if not parts:
        return Asked(texts=len(given), rows=len(given))
    if len(parts) != len(given):
        raise RequestInvalid(
            "input must be a list of texts, or of the parts of one input, not a mixture",
            param=INPUT,
        )
    images = _images(parts)
    modalities = frozenset({Modality.IMAGE}) if images else TEXT_ALONE
    return Asked(texts=1, rows=1, images=images, modalities=modalities)


def _images(parts: list[_Part]) -> list[str]:
    """The images among the parts of an input, each of which is checked."""
    images: list[str] = []
    for number, part in enumerate(parts):
        path = f"{INPUT}[{number}]"
        if part.type == "text":
            if part.text is None:
                raise missing(f"{path}.text")
        elif part.type == "image_url":
            if part.image_url is None:
                raise missing(f"{path}.image_url")
            check_image_url(part.image_url.url, f"{path}.image_url.url")
            images.append(part.image_url.url)
        else:
            raise RequestInvalid(
                f"{path}.type is {part.type!r}; it must be text or image_url", param=INPUT
            )
    return images


SHAPE = Shape(Kind.MODERATION, msgspec.json.Decoder(ModerationBody).decode, _asked)

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    call = parse_call(SHAPE, exchange.body, arrival)
    if exchange.grant is not None and exchange.grant.judges:
        call = msgspec.structs.replace(call, asked=GUARDRAIL, why=exchange.grant.judges)
    written = partial(_written, f"modr-{call.id}")
    return call, lambda sink, _call, _progress: WholeClient(sink, written)


def _written(id_: str, answer: bytes, report: Report | None) -> bytes:
    body: dict[str, object] = {"id": id_, **_decode_fields(answer)}
    if report is not None:
        body["route"] = report
    return _encode(body)


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=b"",
    described={
        PATH: {"post": operation("OpenAI moderations.", "Moderation", takes="ModerationRequest")}
    },
    schemas={
        "ModerationRequest": object_with(
            {
                "model": TEXT,
                "input": {
                    "anyOf": [TEXT, list_of(TEXT, 1), list_of(object_with({"type": TEXT}), 1)]
                },
            },
        ),
        "Moderation": object_with(
            {
                "id": TEXT,
                "model": TEXT,
                "results": list_of(
                    object_with(
                        {
                            "flagged": FLAG,
                            "categories": {"type": "object"},
                            "category_scores": {"type": "object"},
                        }
                    ),
                    1,
                ),
            },
            {"usage": {"type": "object"}},
        ),
    },
)
