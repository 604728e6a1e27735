"""A first call is as fast as the tenth: the real engine is warm before it counts as ready."""

import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.processes.health import logged
from deploy.local.services.stack import WARM
from tests.backend import running
from tests.integration.router.test_alone import client_of, router
from tests.ports import free_ports

pytestmark = pytest.mark.chaos

REAL_MODEL = "huggingfacetb/smollm2-135m-instruct"
LATER = 9
FIRST_MAX = 2.0
"""Of the median of the later ones."""
BODY = {
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 16,
    "temperature": 0,
    "cache_prompt": False,
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[httpx.Client]:
    (port,) = free_ports(1)
    words = ["workers.backends.llama_cpp", "--port", str(port), "--slots", "1", "--threads", "1"]
    log = tmp_path / "log"
    with (
        running(words, lambda: logged(WARM)(log), log),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client,
    ):
        yield client


def test_the_first_call_of_a_ready_engine_is_as_quick_as_later_ones(engine: httpx.Client) -> None:
    (decoded,) = re.findall(
        r"^llamacpp:tokens_predicted_total (\d+)", engine.get("/metrics").text, re.MULTILINE
    )
    assert int(decoded) > 0, "ready without a first inference"

    def seconds() -> float:
        begun = time.perf_counter()
        engine.post("/v1/chat/completions", json=BODY).raise_for_status()
        return time.perf_counter() - begun

    first, later = seconds(), statistics.median(seconds() for _ in range(LATER))
    print(f"first call {first * 1e3:.0f} ms, later {later * 1e3:.0f} ms")
    assert first <= FIRST_MAX * later


def test_a_first_call_of_a_real_model_is_not_hedged(engine: httpx.Client, tmp_path: Path) -> None:
    story = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
    fleet = [
        {"id": name, "url": str(engine.base_url), "class": name, "slots": 2, "model": REAL_MODEL}
        for name in ("one", "two")
    ]
    with router(fleet, tmp_path) as (_, url):
        answer = client_of(url).chat.completions.with_raw_response.create(
            model=REAL_MODEL, messages=story, max_tokens=192
        )
    assert answer.headers["x-route-attempts"] == "1"
