"""The Open Inference Protocol v2 over REST: calls of models named in the path."""

from router.domain.request import InferenceRequest
from router.ingress import quote
from router.ingress.describing import TEXT, object_with
from router.ingress.errors import oip_error
from router.ingress.faces.face import Answering, Arrival, Face
from router.ingress.faces.openai_answer import DONE, OpenAIClient
from router.ingress.http.exchange import Exchange
from router.ingress.oip import oip_http
from router.ingress.proxy.pass_through import no_such

ROOT = "/v2"


def _read(exchange: Exchange, arrival: Arrival) -> tuple[InferenceRequest, Answering]:
    target = oip_http.parse_path(exchange.path)
    if target is None or target.action != "infer":
        raise no_such(exchange)
    route = oip_http.find_route(arrival.table, target)
    call = oip_http.parse_infer(
        route.model,
        exchange.body,
        exchange.headers,
        checked=quote.HEADER not in exchange.headers,
        stream=arrival.streams,
        request_id=arrival.request_id,
        explain=arrival.explain,
        arrived_s=arrival.arrived_s,
        created_at_ms=arrival.created_at_ms,
    )
    return call, OpenAIClient


FACE: Face = Face(
    path=ROOT,
    is_root=True,
    read=_read,
    error=oip_error,
    ending=DONE,
    described={},
    schemas={"TensorError": object_with({"error": TEXT})},
)
