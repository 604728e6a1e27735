"""A router that exports traces, with a collector and a worker that keep what they receive."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.backend import backend
from tests.collector import Collected, collector
from tests.ports import free_ports

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


@pytest.fixture
def told() -> Iterator[Collected]:
    """Collector and worker in one."""
    with collector(json.dumps(ANSWER).encode()) as kept:
        yield kept


def test_a_call_is_a_span_in_its_callers_trace(
    told: Collected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT", told.url)
    monkeypatch.setitem(os.environ, "OTEL_SERVICE_NAME", "our-router")
    path = tmp_path / "fleet.json"
    fleet = [{"id": "ok", "url": told.url, "class": "h", "slots": 2, "model": "a/m"}]
    path.write_text(json.dumps(fleet))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    words = ["router", "--fleet", str(path), "--port", str(port), "--key", "k"]
    body = {"model": "a/m", "messages": [{"role": "user", "content": "secret words"}]}
    headers = {"authorization": "Bearer k"}
    with backend(words, f"{url}/readyz", tmp_path / "log"), httpx.Client(base_url=url) as client:

        def call(**more: str) -> str:
            answer = client.post("/v1/chat/completions", json=body, headers={**headers, **more})
            return answer.raise_for_status().headers["x-request-id"].replace("-", "")

        within = call(traceparent=f"00-{TRACE}-{PARENT}-01")
        call(traceparent=f"00-{TRACE}-{PARENT}-00")
        alone = call(traceparent="nonsense")
    # The router has stopped, and so has sent what it had.
    assert told.traceparents[0] == f"00-{TRACE}-{within[-16:]}-01"
    assert told.traceparents[1].endswith("-00")
    assert told.traceparents[2] == f"00-{alone}-{alone[-16:]}-01"
    calls = {span.span_id.hex(): span for span in told.spans if span.name == "chat a/m"}
    attempts = [span for span in told.spans if span.name.startswith("attempt ")]
    assert calls.keys() == {within[-16:], alone[-16:]}
    assert {span.parent_span_id.hex() for span in attempts} == calls.keys()
    mine = calls[within[-16:]]
    assert (mine.trace_id.hex(), mine.parent_span_id.hex()) == (TRACE, PARENT)
    assert mine.start_time_unix_nano < mine.end_time_unix_nano
    attributes = {attribute.key: attribute.value for attribute in mine.attributes}
    assert attributes["gen_ai.operation.name"].string_value == "chat"
    assert attributes["gen_ai.request.model"].string_value == "a/m"
    assert attributes["gen_ai.usage.input_tokens"].int_value == 7
    assert attributes["gen_ai.usage.output_tokens"].int_value == 3
    assert "secret words" not in str(told.spans)
