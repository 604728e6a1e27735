"""Reranking, as Cohere's and Jina's clients speak it: which documents answer a query best."""

from functools import partial

import msgspec
from msgspec import Raw, Struct

from router.contracts.bodies.ranking import Ranked, encode, parted
from router.domain.errors import RequestInvalid
from router.domain.request import BYTES_PER_TOKEN, InferenceRequest, Kind
from router.ingress.describing import COUNT, FLAG, NUMBER, TEXT, list_of, object_with, operation
from router.ingress.errors import rerank_error
from router.ingress.faces.bodies import Body
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai import Asked, Shape, parse_call
from router.ingress.faces.whole import WholeClient
from router.ingress.http.exchange import Exchange
from router.ingress.unfit import missing
from router.pipeline.settlement.route_report import Report

PATH = "/v1/rerank"
COHERE_PATH = "/v2/rerank"
DOCUMENTS_MAX = 1_000
UNIT_DOCUMENTS = 100
"""A search unit is a query with up to so many documents..."""

DOCUMENT_BYTES = 500 * BYTES_PER_TOKEN
"""... of up to so many bytes, about 500 tokens, each with the query; a longer one counts as
several.
"""

DOCUMENTS = "documents"


class _Document(Struct, gc=False):
    text: str


class RerankBody(Body, gc=False):
    """``/v1/rerank``. ``return_documents`` is off by default, as in Cohere's API."""

    query: str | None = None
    documents: list[str | _Document] | None = None
    top_n: int | None = None
    return_documents: bool | None = False


_decode = msgspec.json.Decoder(RerankBody).decode


def search_units(query: str, documents: list[str]) -> int:
    """How many search units a call is, by bytes: no worker need be believed for it."""
    query_bytes = len(query.encode())
    parts = sum(-(-(query_bytes + len(text.encode())) // DOCUMENT_BYTES) for text in documents)
    return -(-parts // UNIT_DOCUMENTS)


def _asked(body: RerankBody) -> Asked:
    if body.query is None:
        raise missing("query")
    if body.documents is None:
        raise missing(DOCUMENTS)
    if not body.query.strip():
        raise RequestInvalid("query is empty; give a text to search for", param="query")
    if not 1 <= len(body.documents) <= DOCUMENTS_MAX:
        raise RequestInvalid(
            f"there are {len(body.documents)} documents; send 1 to {DOCUMENTS_MAX}",
            param=DOCUMENTS,
        )
    if body.top_n is not None and body.top_n < 1:
        raise RequestInvalid(f"top_n is {body.top_n}; it must be 1 or more", param="top_n")
    texts = _texts(body.documents)
    return Asked(texts=len(texts), rows=search_units(body.query, texts))


def _texts(documents: list[str | _Document]) -> list[str]:
    return [given if isinstance(given, str) else given.text for given in documents]


SHAPE = Shape(Kind.RERANK, _decode, _asked)


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    call = parse_call(SHAPE, exchange.body, arrival)
    body = _decode(exchange.body)
    texts = _texts(body.documents or [])
    fields = dict(call.fields)
    # Workers need not know objects, shorten the answer, or send the documents back.
    fields[DOCUMENTS] = Raw(encode(texts))
    for name in ("top_n", "return_documents"):
        fields.pop(name, None)
    call = msgspec.structs.replace(call, fields=fields)
    shown = texts if body.return_documents else None
    written = partial(_written, call.id, call.bound.rows, body.top_n, shown)
    return call, lambda sink, _call, _progress: WholeClient(sink, written)


def _written(
    id_: str,
    units: int,
    top_n: int | None,
    documents: list[str] | None,
    answer: bytes,
    report: Report | None,
) -> bytes:
    """The answer with what Cohere's clients read besides Jina's."""
    fields, ranked = parted(answer)
    results = [_result(one, documents) for one in ranked[:top_n]]
    body: dict[str, object] = {"id": id_, **fields, "results": results}
    body["meta"] = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
    if report is not None:
        body["route"] = report
    return encode(body)


def _result(ranked: Ranked, documents: list[str] | None) -> dict[str, object]:
    result: dict[str, object] = {"index": ranked.index, "relevance_score": ranked.relevance_score}
    if documents is not None:
        result["document"] = {"text": documents[ranked.index]}
    return result


_DESCRIBED = {
    "post": operation(
        "Reranking, as Cohere's and Jina's clients call it.",
        "Ranking",
        takes="RerankRequest",
        error="RerankError",
    )
}

FACE: Face = Face(
    path=PATH,
    read=_read,
    error=rerank_error,
    ending=b"",
    described={PATH: _DESCRIBED},
    schemas={
        "RerankRequest": object_with(
            {
                "model": TEXT,
                "query": TEXT | {"minLength": 1},
                "documents": list_of({"anyOf": [TEXT, object_with({"text": TEXT})]}, 1),
            },
            {"top_n": {"type": "integer", "minimum": 1}, "return_documents": FLAG},
        ),
        "Ranking": object_with(
            {
                "id": TEXT,
                "model": TEXT,
                "results": list_of(
                    object_with(
                        {"index": COUNT, "relevance_score": NUMBER},
                        {"document": object_with({"text": TEXT})},
                    ),
                    1,
                ),
                "usage": {"type": "object"},
                "meta": {"type": "object"},
            }
        ),
        "RerankError": object_with({"message": TEXT, "detail": TEXT}),
    },
)
COHERE: Face = msgspec.structs.replace(
    FACE, path=COHERE_PATH, described={COHERE_PATH: _DESCRIBED}, schemas={}
)
"""Where the second version of Cohere's clients calls. It takes and gives the same."""
