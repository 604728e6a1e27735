"""Anthropic's messages: a chat call in other words."""

from router.domain.request import InferenceRequest
from router.ingress.describing import (
    ANY_LIST,
    COUNT,
    EVENTS,
    FLAG,
    GENERATION,
    MESSAGE,
    TEXT,
    list_of,
    object_with,
    operation,
)
from router.ingress.errors import anthropic_error
from router.ingress.faces import chat
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.messages.answer import client_of
from router.ingress.faces.messages.request import chat_body
from router.ingress.faces.openai import parse_call
from router.ingress.http.exchange import Exchange

PATH = "/v1/messages"
COUNT_PATH: str = PATH + "/count_tokens"


def counted(body: bytes, arrival: Arrival) -> InferenceRequest:
    """The call whose tokens are only counted."""
    return parse_call(chat.SHAPE, chat_body(body, counting=True), arrival)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    return parse_call(chat.SHAPE, chat_body(exchange.body), arrival), client_of


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=anthropic_error,
    ending=b'data: {"type":"message_stop"}\n\n',
    described={
        PATH: {
            "post": operation(
                "Anthropic's messages.",
                "Message",
                EVENTS,
                takes="MessageRequest",
                error="AnthropicError",
            )
        },
        COUNT_PATH: {
            "post": operation(
                "What a prompt is taken for.",
                "TokenCount",
                takes="CountRequest",
                error="AnthropicError",
            )
        },
    },
    schemas={
        "AnthropicError": object_with(
            {"type": {"const": "error"}, "error": object_with({"type": TEXT, "message": TEXT})}
        ),
        "MessageRequest": object_with(
            {
                "model": TEXT,
                "messages": list_of(MESSAGE, 1),
                "max_tokens": GENERATION["max_tokens"],
            },
            {"system": TEXT, "stream": FLAG},
        ),
        "CountRequest": object_with(
            {"model": TEXT, "messages": list_of(MESSAGE, 1)}, {"system": TEXT}
        ),
        "Message": object_with(
            {
                "id": TEXT,
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "content": ANY_LIST,
                "stop_reason": TEXT,
                "usage": object_with({"input_tokens": COUNT, "output_tokens": COUNT}),
            }
        ),
        "TokenCount": object_with({"input_tokens": COUNT}),
    },
)
