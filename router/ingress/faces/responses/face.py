"""OpenAI's responses: a chat call in other words."""

from router.domain.request import InferenceRequest
from router.ingress.describing import (
    ANY_LIST,
    COUNT,
    EVENTS,
    FLAG,
    GENERATION,
    ROUTING,
    TEXT,
    list_of,
    object_with,
    operation,
)
from router.ingress.errors import openai_error
from router.ingress.exchange import Exchange, Sink
from router.ingress.faces import chat
from router.ingress.faces.face import Arrival, Face
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.answer import DONE, ResponsesClient
from router.ingress.faces.responses.request import chat_body, decode
from router.ingress.progress import Progress
from router.pipeline.gateway import Client

PATH = "/v1/responses"


def _read(exchange: Exchange, arrival: Arrival) -> InferenceRequest:
    return parse_call(chat.SHAPE, chat_body(exchange.body), arrival)


def _client(sink: Sink, call: InferenceRequest, progress: Progress | None, body: bytes) -> Client:
    return ResponsesClient(sink, call, decode(body), progress)


FACE = Face(
    path=PATH,
    read=_read,
    client=_client,
    error=openai_error,
    ending=DONE,
    described={
        PATH: {"post": operation("OpenAI responses.", "Response", EVENTS, takes="ResponseRequest")}
    },
    schemas={
        "ResponseRequest": object_with(
            {
                "model": TEXT,
                "input": {"anyOf": [TEXT, list_of({"type": "object"}, 1)]},
            },
            ROUTING
            | {
                "instructions": TEXT,
                "max_output_tokens": GENERATION["max_tokens"],
                "stream": FLAG,
            },
        ),
        "Response": object_with(
            {
                "id": TEXT,
                "object": {"const": "response"},
                "created_at": COUNT,
                "status": {"enum": ["completed", "incomplete"]},
                "model": TEXT,
                "output": ANY_LIST,
                "usage": object_with(
                    {"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}
                ),
            }
        ),
    },
)
