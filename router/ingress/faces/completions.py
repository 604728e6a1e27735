"""OpenAI's completions of a text."""

import msgspec

from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import (
    EVENTS,
    GENERATION,
    ROUTING,
    TEXT,
    list_of,
    object_with,
    operation,
)
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import CompletionBody, check_texts, fewest_tokens, tokens_listed
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.openai_answer import DONE, OpenAIClient
from router.ingress.http.exchange import Exchange

PATH = "/v1/completions"


def _asked(body: CompletionBody) -> Asked:
    prompts = check_texts("prompt", body.prompt)
    return Asked(len(prompts), fewest_tokens(prompts), tokens_listed(prompts))


SHAPE = Shape(
    Kind.COMPLETION,
    msgspec.json.Decoder(CompletionBody).decode,
    _asked,
    tokens_least=0,  # A completion of no tokens only scores its prompt.
)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    return parse_call(SHAPE, exchange.body, arrival), OpenAIClient


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=DONE,
    described={
        PATH: {
            "post": operation(
                "OpenAI completions.", "Completion", EVENTS, takes="CompletionRequest"
            )
        }
    },
    schemas={
        "CompletionRequest": object_with(
            {"model": TEXT, "prompt": {"anyOf": [TEXT, list_of(TEXT, 1)]}}, GENERATION | ROUTING
        ),
    },
)
