"""A model cut in two, in two real processes."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest

from tests.backend import answers, backend
from tests.ports import free_ports
from workers.backends.sharded.__main__ import FOLDER, MODEL
from workers.backends.triton.fraud.transactions import generate

ROWS = generate(50, seed=11).features.astype(np.float32)


def asked(url: str, rows: np.ndarray) -> httpx.Response:
    tensor = {"name": "FEATURES", "datatype": "FP32", "shape": list(rows.shape)}
    body = {"inputs": [{**tensor, "data": rows.ravel().tolist()}]}
    return httpx.post(f"{url}/v2/models/{MODEL}/infer", json=body, timeout=60)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = free_ports(1)
    words = ["workers.backends.sharded", "--port", str(port), "--stage", "1"]
    log = tmp_path_factory.mktemp("second") / "log"
    with backend(words, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"


def first_words(port: int, following: str) -> list[str]:
    return [
        *("workers.backends.sharded", "--port", str(port)),
        *("--stage", "0", "--next", following),
    ]


def test_two_halves_answer_as_the_whole(second: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with backend(first_words(port, second), f"{url}/v2/health/ready", tmp_path / "log"):
        answer = asked(url, ROWS)
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert (output["name"], output["shape"]) == ("FRAUD_PROBABILITY", [len(ROWS), 1])
        hidden = ROWS
        for stage in ("stage0.onnx", "stage1.onnx"):
            session = onnxruntime.InferenceSession(str(FOLDER / stage))
            hidden = session.run(None, {session.get_inputs()[0].name: hidden})[0]
        assert output["data"] == pytest.approx(hidden[:, 1].tolist(), abs=1e-6)
        for wrong in (ROWS[:, :3], ROWS[:0]):
            refused = asked(url, wrong)
            assert refused.status_code == 400
            assert "FEATURES is" in refused.json()["error"]


def test_the_first_half_alone_is_not_ready(tmp_path: Path) -> None:
    port, nobody = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    words = first_words(port, f"http://127.0.0.1:{nobody}")
    with backend(words, f"{url}/health", tmp_path / "log"):
        assert not answers(f"{url}/v2/health/ready")
        assert asked(url, ROWS).status_code == 503
