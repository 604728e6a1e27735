"""Calls of OpenAI's kinds, read as the router reads them."""

from router.domain.request import InferenceRequest, Kind
from router.ingress.faces import chat, completions, embeddings, moderations, rerank
from router.ingress.faces import openai as faces
from router.ingress.faces.face import Arrival

FACES = (chat, completions, embeddings, moderations, rerank)
SHAPES = {face.SHAPE.kind: face.SHAPE for face in FACES}


def parse_call(
    kind: Kind,
    body: bytes,
    *,
    request_id: str = "0193-test",
    explain: bool = False,
    arrived_s: float = 0.0,
    created_at_ms: int = 0,
) -> InferenceRequest:
    return faces.parse_call(
        SHAPES[kind], body, Arrival(request_id, arrived_s, created_at_ms, explain)
    )
