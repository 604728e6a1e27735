"""Triton's own clients through the router, before a real Triton that is spoken to either way."""

import asyncio
import json
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

from tests.backend import backend
from tests.patience import PATIENCE_S
from tests.ports import free_ports

KEY = "a-key"
AUTH = {"authorization": f"Bearer {KEY}"}
MODEL, TEXTS, JUDGE = "fraud_scorer", "wordllama_256", "hatesonar"
ROWS = np.array(
    [[20, 14, 3, 300, 1, 0.1, 1, 900], [900, 3, 400, 2, 6, 0.6, 0, 20]], dtype=np.float32
)
OUTPUT = "FRAUD_PROBABILITY"


@dataclass(frozen=True)
class Router:
    http: str
    grpc: str


@pytest.fixture(scope="module", params=["oip", "oip_grpc"])
def router(
    request: pytest.FixtureRequest,
    triton_addresses: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Router]:
    """A router that speaks to Triton over REST, and one that does so over gRPC."""
    schemes = {"oip": ("http", "http://"), "oip_grpc": ("grpc", "grpc://")}
    name, scheme = schemes[request.param]
    one = {
        "id": "triton",
        "url": scheme + triton_addresses[name],
        "class": "cpu",
        "slots": 4,
        "protocol": request.param,
    }
    fleet = [
        {**one, "model": MODEL, "task": "tabular"},
        {**one, "id": "triton-texts", "model": TEXTS, "task": "embeddings"},
        {**one, "id": "triton-judge", "model": JUDGE, "task": "moderation"},
    ]
    folder: Path = tmp_path_factory.mktemp(request.param)
    path = folder / "fleet.json"
    path.write_text(json.dumps(fleet))
    http, grpc = free_ports(2)
    words = ["router", "--fleet", str(path), "--port", str(http), "--grpc-port", str(grpc)]
    with backend([*words, "--key", KEY], f"http://127.0.0.1:{http}/readyz", folder / "log"):
        yield Router(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")


def inputs(module: object, *, binary: bool = True) -> list[object]:
    tensor = module.InferInput("FEATURES", list(ROWS.shape), "FP32")
    if module is over_grpc:
        tensor.set_data_from_numpy(ROWS)
    else:
        tensor.set_data_from_numpy(ROWS, binary_data=binary)
    return [tensor]


def check(answer: object) -> None:
    ordinary, suspicious = answer.as_numpy(OUTPUT).ravel()
    assert ordinary < 0.1
    assert suspicious > 0.9


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_over_rest_in_json_and_in_binary(router: Router, binary_in: bool, binary_out: bool) -> None:
    client = over_http.InferenceServerClient(router.http)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    wanted = [over_http.InferRequestedOutput(OUTPUT, binary_data=binary_out)]
    check(
        client.infer(MODEL, inputs(over_http, binary=binary_in), outputs=wanted, headers=dict(AUTH))
    )


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_over_rest_compressed(router: Router, coding: str, binary: bool) -> None:
    client = over_http.InferenceServerClient(router.http)
    made = inputs(over_http, binary=binary)
    check(client.infer(MODEL, made, headers=dict(AUTH), request_compression_algorithm=coding))


async def test_over_rest_async(router: Router) -> None:
    async with over_http_aio.InferenceServerClient(router.http) as client:
        check(await client.infer(MODEL, inputs(over_http), headers=dict(AUTH)))


def test_over_grpc(router: Router) -> None:
    client = over_grpc.InferenceServerClient(router.grpc)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.get_server_metadata().name == "waypost"
    assert client.get_model_metadata(MODEL, headers=AUTH).name == MODEL
    answer = client.infer(MODEL, inputs(over_grpc), headers=AUTH, request_id="mine")
    check(answer)
    assert answer.get_response().model_name == MODEL
    assert answer.get_response().id == "mine"
    wanted = [over_grpc.InferRequestedOutput(OUTPUT)]
    check(client.infer(MODEL, inputs(over_grpc), outputs=wanted, headers=AUTH))


async def test_over_grpc_async_many_at_once(router: Router) -> None:
    async with over_grpc_aio.InferenceServerClient(router.grpc) as client:
        answers = await asyncio.gather(
            *(client.infer(MODEL, inputs(over_grpc), headers=AUTH) for _ in range(8))
        )
    for answer in answers:
        check(answer)


def test_over_a_grpc_stream_each_request_is_answered_in_turn(router: Router) -> None:
    heard: queue.Queue[tuple[object, object]] = queue.Queue()
    client = over_grpc.InferenceServerClient(router.grpc)
    client.start_stream(lambda result, error: heard.put((result, error)), headers=AUTH)
    for model in (MODEL, "nothing", MODEL):
        client.async_stream_infer(model, inputs(over_grpc))
    received = [heard.get(timeout=PATIENCE_S) for _ in range(3)]
    client.stop_stream()
    check(received[0][0])
    assert "does not exist" in str(received[1][1])
    check(received[2][0])


@pytest.mark.parametrize(
    ("model", "headers", "status"),
    [
        (MODEL, {}, "UNAUTHENTICATED"),
        (MODEL, {"authorization": "Bearer x"}, "UNAUTHENTICATED"),
        ("nothing", AUTH, "NOT_FOUND"),
        (TEXTS, AUTH, "INVALID_ARGUMENT"),
    ],
)
def test_over_grpc_errors_have_their_status(
    router: Router, model: str, headers: dict[str, str], status: str
) -> None:
    client = over_grpc.InferenceServerClient(router.grpc)
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, inputs(over_grpc), headers=headers)
    assert refused.value.status() == f"StatusCode.{status}"


def test_what_was_answered_is_told_as_triton_tells_it(router: Router) -> None:
    rest, grpc = (
        over_http.InferenceServerClient(router.http),
        over_grpc.InferenceServerClient(router.grpc),
    )

    def counted() -> list[tuple[int, ...]]:
        over_rest = rest.get_inference_statistics(MODEL, headers=dict(AUTH))
        over = grpc.get_inference_statistics(MODEL, headers=AUTH, as_json=True)
        found: list[tuple[int, ...]] = []
        for received in (over_rest, over):
            (one,) = received["model_stats"]
            assert (one["name"], one["version"]) == (MODEL, "1")
            success, fail = one["inference_stats"]["success"], one["inference_stats"]["fail"]
            counts = (one.get("inference_count", 0), success.get("count", 0), fail.get("count", 0))
            found.append(tuple(map(int, counts)))
        return found

    before, over = counted()
    assert before == over
    began_ms = time.time_ns() // 1_000_000
    check(rest.infer(MODEL, inputs(over_http), headers=dict(AUTH)))
    wrong = over_grpc.InferInput("FEATURES", [1, 3], "FP32")
    wrong.set_data_from_numpy(ROWS[:1, :3])
    with pytest.raises(InferenceServerException):
        grpc.infer(MODEL, [wrong], headers=AUTH)
    rows, answered, failed = before
    assert counted() == [(rows + len(ROWS), answered + 1, failed + 1)] * 2

    (one,) = rest.get_inference_statistics(MODEL, headers=dict(AUTH))["model_stats"]
    assert one["last_inference"] >= began_ms
    assert one["inference_stats"]["success"]["ns"] > 0
    every = rest.get_inference_statistics(headers=dict(AUTH))["model_stats"]
    assert {model["name"] for model in every} == {MODEL, TEXTS, JUDGE}
    for client in (rest, grpc):
        with pytest.raises(InferenceServerException, match="no API key"):
            client.get_inference_statistics(MODEL)
    with pytest.raises(InferenceServerException, match="does not exist"):
        grpc.get_inference_statistics("nothing", headers=AUTH)


def test_embeddings_in_openais_shape_come_from_triton(router: Router) -> None:
    answer = httpx.post(
        f"http://{router.http}/v1/embeddings",
        json={"model": TEXTS, "input": ["one", "two"]},
        headers=AUTH,
    )
    answer.raise_for_status()
    assert [len(row["embedding"]) for row in answer.json()["data"]] == [256, 256]


def test_texts_are_moderated_by_either_protocol(router: Router) -> None:
    client = openai.OpenAI(base_url=f"http://{router.http}/v1", api_key=KEY)
    texts = ["What a lovely day.", "white trash hillbilly"]
    answer = client.moderations.create(model=JUDGE, input=texts)
    calm, hateful = answer.results
    assert (calm.flagged, hateful.flagged) == (False, True)
    # What the classifier does not score is not there, rather than false.
    scores = hateful.category_scores.model_dump(exclude_unset=True)
    assert set(scores) == {"hate", "offensive_language"}
    assert scores["hate"] > 0.5 > scores["offensive_language"]
