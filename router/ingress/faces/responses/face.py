"""OpenAI's responses: a chat call in other words."""

import msgspec

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
from router.ingress.faces import chat
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.answer import DONE, client_of
from router.ingress.faces.responses.request import read_request
from router.ingress.faces.responses.resource import Resource
from router.ingress.http.exchange import Exchange, Sink
from router.ingress.progress import Progress
from router.pipeline.client import Client
from router.pipeline.plans.routing_table import NOBODY

PATH = "/v1/responses"
KEPT = PATH + "/{response_id}"
STATUSES = ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")
ID = [{"name": "response_id", "in": "path", "required": True, "schema": TEXT | {"minLength": 1}}]


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    def context_of(model: str) -> int:
        table, grant = arrival.table, exchange.grant or NOBODY
        route = table.route_for(grant, model) or table.route_for(grant, model.rpartition(":")[0])
        return route.model.context_tokens_max if route is not None else 0

    read = read_request(exchange.body, arrival.earlier, context_of)

    def answering(sink: Sink, call: InferenceRequest, progress: Progress | None) -> Client:
        key = arrival.response_key or call.id.replace("-", "")
        created_s = call.created_at_ms // 1000
        resource = Resource(key, call.model, created_s, read.asked, is_kept=arrival.is_kept)
        return client_of(sink, resource, progress)

    call = parse_call(chat.SHAPE, read.chat, arrival)
    return msgspec.structs.replace(call, as_response=read.as_response), answering


FACE: Face = Face(
    path=PATH,
    read=_read,
    error=openai_error,
    ending=DONE,
    described={
        PATH: {"post": operation("OpenAI responses.", "Response", EVENTS, takes="ResponseRequest")},
        KEPT: {
            "get": operation("A kept response.", "Response"),
            "delete": operation("Forget a response.", "Deleted"),
            "parameters": ID,
        },
        f"{KEPT}/cancel": {
            "post": operation("Cancel a response that runs.", "Response"),
            "parameters": ID,
        },
        f"{KEPT}/input_items": {
            "get": operation("The input of a kept response.", "Items"),
            "parameters": ID,
        },
    },
    schemas={
        "ResponseRequest": object_with(
            {
                "model": TEXT,
                "input": {"anyOf": [TEXT, list_of({"type": "object"}, 1)]},
            },
            ROUTING
            | {
                "background": FLAG,
                "instructions": TEXT,
                "max_output_tokens": GENERATION["max_tokens"],
                "stream": FLAG,
            },
        ),
        "Deleted": object_with({"id": TEXT, "deleted": {"const": True}}),
        "Items": object_with({"object": {"const": "list"}, "data": ANY_LIST, "has_more": FLAG}),
        "Response": object_with(
            {
                "id": TEXT,
                "object": {"const": "response"},
                "created_at": COUNT,
                "status": {"enum": [*STATUSES]},
                "model": TEXT,
                "output": ANY_LIST,
                "usage": object_with(
                    {"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT}
                ),
            }
        ),
    },
)
