"""OpenAI's embeddings."""

import msgspec

from router.domain.errors import RequestInvalid
from router.domain.request import InferenceRequest, Kind
from router.ingress.describing import COUNT, TEXT, list_of, object_with, operation
from router.ingress.errors import openai_error
from router.ingress.faces.bodies import EmbeddingBody, check_texts, tokens_listed
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.openai_answer import DONE, OpenAIClient
from router.ingress.http.exchange import Exchange

PATH = "/v1/embeddings"


def _asked(body: EmbeddingBody) -> Asked:
    if body.input == "":
        raise RequestInvalid("input is empty; give at least one text", param="input")
    texts = check_texts("input", body.input)
    return Asked(len(texts), tokens_listed=tokens_listed(texts))


SHAPE = Shape(Kind.EMBEDDING, msgspec.json.Decoder(EmbeddingBody).decode, _asked)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    return parse_call(SHAPE, exchange.body, arrival), OpenAIClient


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=DONE,
    described={
        PATH: {"post": operation("OpenAI embeddings.", "Embeddings", takes="EmbeddingRequest")}
    },
    schemas={
        "EmbeddingRequest": object_with(
            {"model": TEXT, "input": {"anyOf": [TEXT | {"minLength": 1}, list_of(TEXT, 1)]}},
            {"encoding_format": {"enum": ["float", "base64"]}},
        ),
        "Embeddings": object_with(
            {"data": list_of(object_with({"index": COUNT, "embedding": {}}))}
        ),
    },
)
