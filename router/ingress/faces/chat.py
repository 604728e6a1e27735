"""OpenAI's chat."""

import msgspec

from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import (
    EVENTS,
    GENERATION,
    MESSAGE,
    ROUTING,
    TEXT,
    list_of,
    object_with,
    operation,
    ref,
)
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import ChatBody, check_chat, tokens_of
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.openai_answer import DONE, OpenAIClient
from router.ingress.http.exchange import Exchange

PATH = "/v1/chat/completions"


def _asked(body: ChatBody) -> Asked:
    chat = check_chat(body)
    least = tokens_of(chat.characters)
    return Asked(1, least, images=chat.images, modalities=chat.modalities)


SHAPE = Shape(Kind.CHAT, msgspec.json.Decoder(ChatBody).decode, _asked)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    return parse_call(SHAPE, exchange.body, arrival), OpenAIClient


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=DONE,
    described={
        PATH: {"post": operation("OpenAI chat.", "Completion", EVENTS, takes="ChatRequest")}
    },
    schemas={
        "ChatRequest": object_with(
            {"model": TEXT, "messages": list_of(MESSAGE, 1)},
            GENERATION | ROUTING | {"n": {"type": "integer", "minimum": 1, "maximum": 16}},
        ),
        "Completion": object_with(
            {"choices": list_of({"type": "object"}, 1)},
            {"model": TEXT, "usage": {"type": "object"}, "route": ref("Route")},
        ),
    },
)
