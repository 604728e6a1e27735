"""Promise 16: every operation that the router publishes answers its schema; nothing is a 500."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from router.ingress.description import PATHS
from router.upstream.openai_http import SILENCE
from tests.backend import backend
from tests.examples import examples
from tests.ports import free_ports

KEY = "a-key"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
AUTHOR, SLUG = "emulated", "gpt-j-6b"
CHAT = f"{AUTHOR}/{SLUG}"
MODELS = {
    "/embeddings": ("embeddings", "emulated/bge-large"),
    "/rerank": ("rerank", "emulated/bge-reranker-large"),
    "/moderations": ("moderation", "emulated/deberta-moderation"),
    "/images/generations": ("image", "emulated/stable-diffusion-xl"),
    "/audio/speech": ("speech", "emulated/kokoro-82m"),
    "/audio/transcriptions": ("transcription", "emulated/whisper-large-v3"),
}
"""By how a path ends: a task, and its model. All else is a chat's."""
FIXED = {"max_tokens": 2, "size": "64x64", "file": SILENCE}
"""Instead of what was made up: what is short, and what the emulator takes."""
EXAMPLES_MAX = examples(6)
METHODS = {"get", "post"}
ELSEWHERE = ("/infer", "/generation", "/v1/completions", "/cancel")
"""Where 200 is for other models than the emulated one, or for calls that were made or still run."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(emulator_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description that a router in front of an emulated worker publishes."""
    folder = tmp_path_factory.mktemp("openapi")
    fleet = folder / "fleet.json"
    worker = {"id": "w", "url": f"{emulator_url}/emulated-h100-0", "class": "h100", "slots": 4}
    others = [
        {**worker, "id": task, "model": model, "task": task} for task, model in MODELS.values()
    ]
    fleet.write_text(json.dumps([{**worker, "model": CHAT}, *others]))
    (port,) = free_ports(1)
    words = ["router", "--fleet", str(fleet), "--port", str(port), "--key", KEY]
    url = f"http://127.0.0.1:{port}"
    with backend(words, f"{url}/readyz", folder / "log"):
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.fixture(scope="module")
def response_id(described: Any) -> str:
    """The id of a response that the router keeps."""
    asked = {"model": f"{AUTHOR}/{SLUG}", "input": "Hello.", "max_output_tokens": 2}
    url = described.location.removesuffix("/openapi.json")
    answer = httpx.post(f"{url}/v1/responses", json=asked, headers=AUTHORIZED, timeout=120)
    return str(answer.json()["id"])


OPERATIONS = [(path, method) for path in PATHS for method in METHODS & PATHS[path].keys()]
NOT_EMULATED = "/v1/completions"
"""The emulator does not have it: the router says that its worker failed."""


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_answers_as_it_is_described(
    described: Any, response_id: str, path: str, method: str
) -> None:
    operation = described[path][method]
    statuses: set[int] = set()
    cases = operation.as_strategy()
    if method == "post":
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(max_examples=EXAMPLES_MAX)
    @given(case=cases)
    def answers(case: Any) -> None:
        body = case.body
        if isinstance(body, dict) and "model" in body:
            # A model that is there and short answers; all else may be anything.
            fixed = {name: FIXED[name] for name in FIXED.keys() & body.keys()}
            found = (model for end, (_task, model) in MODELS.items() if path.endswith(end))
            case.body = body | {"model": next(found, CHAT)} | fixed
            if path.endswith("/speech"):
                case.body["response_format"] = "wav"
        if case.path_parameters:
            case.path_parameters |= {"author": AUTHOR, "slug": SLUG, "version": "1"}
            case.path_parameters |= {"response_id": response_id}
        checks = CHECKS[1:] if path == NOT_EMULATED else CHECKS
        answer = case.call_and_validate(headers=AUTHORIZED, checks=checks, timeout=120)
        statuses.add(answer.status_code)

    answers()
    assert 500 not in statuses
    if not path.endswith(ELSEWHERE):
        assert 200 in statuses, "nothing but errors was tested"
