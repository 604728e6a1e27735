"""The table of faces. A new one is a module and a row."""

from collections.abc import Mapping

from router.ingress.faces import (
    chat,
    completions,
    embeddings,
    images,
    moderations,
    oip,
    rerank,
    speech,
    transcriptions,
)
from router.ingress.faces.face import Face
from router.ingress.faces.messages import face as messages
from router.ingress.faces.responses import face as responses

ALL = (
    chat.FACE,
    completions.FACE,
    embeddings.FACE,
    messages.FACE,
    responses.FACE,
    rerank.FACE,
    rerank.COHERE,
    moderations.FACE,
    images.FACE,
    speech.FACE,
    transcriptions.FACE,
    oip.FACE,
)
FACES: Mapping[str, Face] = {face.path: face for face in ALL if not face.is_root}
"""By the path of their calls."""
ROOTS = tuple(face for face in ALL if face.is_root)
"""Those whose calls name their model in the path."""


def face_of(path: str) -> Face | None:
    """The face that a ``POST`` to a path is for."""
    face = FACES.get(path)
    if face is None:
        face = next((root for root in ROOTS if path.startswith(root.path)), None)
    return face


def speaker_of(path: str) -> Face:
    """The face whose errors are understood at a path: OpenAI's where there is no other."""
    return next((face for face in ALL if path.startswith(face.path)), chat.FACE)
