"""A decoupled model of a real Triton, whose answers to one request come one after the other."""

import contextlib
import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.backend import backend
from tests.integration.router.routers import until
from tests.patience import PATIENCE_S
from tests.ports import free_ports

KEY = "a-key"
AUTH = {"authorization": f"Bearer {KEY}"}
FOREVER = 100_000


@pytest.fixture(scope="module")
def addresses(
    counter_address: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A router's own, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("decoupled")
    worker = {"id": "w", "url": f"grpc://{counter_address[0]}", "class": "cpu", "slots": 4}
    fleet = [{**worker, "protocol": "oip_grpc", "model": "counter", "task": "tabular"}]
    path = folder / "fleet.json"
    path.write_text(json.dumps(fleet))
    http, grpc = free_ports(2)
    words = ["router", "--fleet", str(path), "--port", str(http), "--grpc-port", str(grpc)]
    with backend([*words, "--key", KEY], f"http://127.0.0.1:{http}/readyz", folder / "log"):
        yield f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}"


class Stream:
    """Triton's client on a stream, and what it has heard."""

    def __init__(self, address: str, key: dict[str, str]) -> None:
        self.client = triton.InferenceServerClient(address)
        self._heard: queue.Queue[tuple[triton.InferResult, Exception]] = queue.Queue()
        self.client.start_stream(
            lambda result, error: self._heard.put((result, error)), headers=key
        )

    def count(self, number: int, shape: int = 1, **more: bool) -> None:
        tensor = triton.InferInput("COUNT", [shape], "INT32")
        tensor.set_data_from_numpy(np.full(shape, number, np.int32))
        self.client.async_stream_infer("counter", [tensor], **more)

    def next(self) -> triton.InferResult:
        result, error = self._heard.get(timeout=PATIENCE_S)
        if error is not None:
            raise error
        return result

    def numbers(self, many: int) -> list[int]:
        return [self.next().as_numpy("NUMBER").item() for _ in range(many)]


@contextlib.contextmanager
def stream(address: str, key: dict[str, str] = AUTH, *, leaves: bool = False) -> Iterator[Stream]:
    """At its end the client waits for what still runs, or ``leaves`` at once."""
    made = Stream(address, key)
    try:
        yield made
    finally:
        made.client.stop_stream(cancel_requests=leaves)


def counted(url: str) -> dict[str, int]:
    """What the router says of the model: rows, answered and failed calls."""
    (one,) = httpx.get(f"{url}/v2/models/counter/stats", headers=AUTH).json()["model_stats"]
    stats = one["inference_stats"]
    ended = {"answered": stats["success"]["count"], "failed": stats["fail"]["count"]}
    return {"rows": one["inference_count"], **ended}


def test_answers_come_one_by_one_and_a_call_is_one_call(addresses: tuple[str, str]) -> None:
    url, grpc = addresses
    before = counted(url)
    with stream(grpc) as received:
        received.count(5)
        assert received.numbers(5) == [0, 1, 2, 3, 4]
        received.count(2, enable_empty_final_response=True)
        assert received.numbers(2) == [0, 1]
        final = received.next().get_response()
        assert final.parameters["triton_final_response"].bool_param
        assert not final.outputs
        assert final.model_name == "counter"
        received.count(0)
        received.count(1)
        assert received.numbers(1) == [0]
    after = {name: before[name] + 4 for name in ("rows", "answered")}
    assert counted(url) == before | after


def test_a_model_that_fails_in_between_is_told_in_its_place(addresses: tuple[str, str]) -> None:
    url, grpc = addresses
    before = counted(url)
    with stream(grpc) as received:
        received.count(-2)
        assert received.numbers(2) == [0, 1]
        with pytest.raises(InferenceServerException, match="what was delivered is billed"):
            received.next()
        received.count(1, shape=2)
        with pytest.raises(InferenceServerException, match="unexpected shape"):
            received.next()
        received.count(1)
        assert received.numbers(1) == [0]
    assert counted(url)["failed"] == before["failed"] + 2


def test_a_client_that_leaves_stops_the_model(
    addresses: tuple[str, str], counter_address: tuple[str, Path]
) -> None:
    with stream(addresses[1], leaves=True) as received:
        received.count(FOREVER)
        assert received.numbers(3) == [0, 1, 2]
    left_s = time.monotonic()
    until(lambda: f"cancelled of {FOREVER}" in counter_address[1].read_text())
    assert time.monotonic() - left_s < 1


def test_a_plain_call_says_that_a_stream_is_needed(addresses: tuple[str, str]) -> None:
    tensor = triton.InferInput("COUNT", [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], np.int32))
    client = triton.InferenceServerClient(addresses[1])
    with pytest.raises(InferenceServerException, match="decoupled") as refused:
        client.infer("counter", [tensor], headers=AUTH)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_stream_needs_a_key(addresses: tuple[str, str]) -> None:
    refused = pytest.raises(InferenceServerException, match="no API key")
    with stream(addresses[1], {}) as received, refused:
        received.next()
