"""What is asked for: a mix of kinds of calls, and a body for each. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

TASK_OF = {
    "chat": "chat",
    "streamed": "chat",
    "embeddings": "embeddings",
    "tabular": "tabular",
    "vision": "vision",
}
"""Kinds of calls, and the task of the model that each needs."""

DEFAULT_MIX = "chat=3,streamed=4,embeddings=3,tabular=2,vision=1"
SUBJECTS = ("trains", "tides", "bread", "bridges", "maps", "clocks", "rivers", "glass")
FEATURES = 8
FRAUD_INPUT = "FEATURES"
IMAGE_SHAPE = (3, 224, 224)
IMAGE_INPUT = "INPUT"
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Call:
    """One request of the public API."""

    kind: str
    path: str
    body: bytes
    headers: Mapping[str, str]


def parse_mix(text: str) -> dict[str, float]:
    """``chat=3,vision=1`` as weights by kind. Raises ``ValueError`` naming what does not fit."""
    mix: dict[str, float] = {}
    for part in text.split(","):
        kind, _, weight = part.strip().partition("=")
        if kind not in TASK_OF:
            raise ValueError(f"no kind {kind!r}; there are {', '.join(TASK_OF)}")
        try:
            mix[kind] = float(weight)
        except ValueError:
            raise ValueError(f"{part!r}: a weight is a number, as in chat=3") from None
        if not 0 <= mix[kind] < float("inf"):
            raise ValueError(f"{part!r}: a weight is not negative")
    if not any(mix.values()):
        raise ValueError(f"{text!r} has no weight above 0")
    return mix


def models_for(mix: Iterable[str], offered: Iterable[Mapping[str, object]]) -> dict[str, list[str]]:
    """By kind the models that serve it, of what ``GET /v1/models`` lists."""
    by_task: dict[str, list[str]] = {}
    for model in offered:
        by_task.setdefault(str(model["task"]), []).append(str(model["id"]))
    return {kind: by_task.get(TASK_OF[kind], []) for kind in mix}


def make(kind: str, model: str, rng: Random) -> Call:
    """A call of a kind, with random sizes."""
    headers = {"content-type": "application/json"}
    if kind in ("chat", "streamed"):
        return Call(kind, "/v1/chat/completions", _chat(kind, model, rng), headers)
    if kind == "embeddings":
        texts = [_sentence(rng) for _ in range(rng.randint(1, 8))]
        body = json.dumps({"model": model, "input": texts}).encode()
        return Call(kind, "/v1/embeddings", body, headers)
    path = f"/v2/models/{model}/infer"
    if kind == "tabular":
        rows = rng.randint(1, 32)
        numbers = [round(rng.uniform(0.0, 1.0), 3) for _ in range(rows * FEATURES)]
        tensor = {"name": FRAUD_INPUT, "datatype": "FP32", "shape": [rows, FEATURES]}
        body = json.dumps({"inputs": [{**tensor, "data": numbers}]}).encode()
        return Call(kind, path, body, headers)
    head, image = _image()
    return Call(kind, path, head + image, {HEADER_LENGTH: str(len(head))})


def _chat(kind: str, model: str, rng: Random) -> bytes:
    # Lengths are long-tailed, as people's are.
    tokens = min(max(int(rng.lognormvariate(2.5, 0.6)), 2), 64)
    call: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": _sentence(rng)}],
        "max_tokens": tokens,
    }
    if kind == "streamed":
        call["stream"] = True
    return json.dumps(call).encode()


def _sentence(rng: Random) -> str:
    subjects = ", ".join(rng.choices(SUBJECTS, k=rng.randint(1, 30)))
    return f"Say what these have in common: {subjects}."


def _image() -> tuple[bytes, bytes]:
    image = bytes(4 * IMAGE_SHAPE[0] * IMAGE_SHAPE[1] * IMAGE_SHAPE[2])
    tensor = {
        "name": IMAGE_INPUT,
        "datatype": "FP32",
        "shape": [1, *IMAGE_SHAPE],
        "parameters": {"binary_data_size": len(image)},
    }
    return json.dumps({"inputs": [tensor]}).encode(), image
