"""A router that exports traces, with a collector and a worker that keep what they receive."""

import gzip
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.backend import backend
from tests.ports import free_ports

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


@dataclass
class Told:
    """What collector and worker were sent."""

    url: str = ""
    traceparents: list[str] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)


@pytest.fixture
def told() -> Iterator[Told]:
    kept = Told()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        kept.spans += scope.spans
                return self.reply(b"", "application/x-protobuf")
            kept.traceparents.append(self.headers.get("traceparent", ""))
            self.reply(json.dumps(ANSWER).encode(), "application/json")

        def reply(self, body: bytes, content_type: str) -> None:
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()


def test_a_call_is_a_span_in_its_callers_trace(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
