"""The whole product on RabbitMQ: a prediction, its webhook, a pipeline, and a batch."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.embedded import wait_until
from tests.local_stack import LocalStack, running_stack
from tests.rabbitmq import rabbitmq

PATIENCE_S = 180.0
SCORER = "waypost/fraud-scorer"
ROW = [240, 3, 320, 4, 5, 0.4, 0, 90]
LINES = 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    home = tmp_path_factory.mktemp("on-rabbitmq") / "home"
    with rabbitmq() as url, running_stack(home, "--no-emulated", broker_url=url) as found:
        yield found


@pytest.fixture
def client(stack: LocalStack) -> Iterator[httpx.Client]:
    key = stack.demo["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.router_url, headers=headers, timeout=PATIENCE_S) as made:
        yield made


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The URL of a server on this machine, and what it was told."""
    told: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", told
        finally:
            server.shutdown()
            thread.join()


def ended(client: httpx.Client, path: str, *ends: str) -> dict[str, Any]:
    """What is at the path once its status is one of these."""
    last: dict[str, Any] = {}

    def is_over() -> bool:
        last.update(client.get(path).json())
        return last["status"] in ends

    wait_until(is_over, PATIENCE_S, f"{path} did not end")
    return last


def predicted(client: httpx.Client, **body: Any) -> dict[str, Any]:
    begun = client.post("/v1/predictions", json=body)
    assert begun.status_code in {200, 201, 202}, begun.text
    return ended(client, f"/v1/predictions/{begun.json()['id']}", "succeeded", "failed")


@pytest.mark.nightly
def test_jobs_of_every_queue_are_done(stack: LocalStack, client: httpx.Client) -> None:
    assert "valkey" not in stack.manage("status").stdout
    with receiver() as (url, told):
        done = predicted(
            client,
            model=SCORER,
            input={"FEATURES": [ROW]},
            webhook=url,
            webhook_events_filter=["completed"],
        )
        assert done["status"] == "succeeded", done["error"]
        wait_until(lambda: bool(told), PATIENCE_S, "the webhook did not come")
    assert told[0]["data"]["id"] == done["id"]

    piped = predicted(client, model="waypost/fraud-note", input={"transaction": ROW})
    assert [one["status"] for one in piped["stages"]] == ["succeeded", "succeeded"], piped["error"]

    line = {"method": "POST", "url": f"/v2/models/{SCORER}/infer"}
    tensor = {"name": "FEATURES", "datatype": "FP32", "shape": [1, 8], "data": ROW}
    body = {"model": SCORER, "inputs": [tensor]}
    text = "\n".join(json.dumps(line | {"custom_id": str(n), "body": body}) for n in range(LINES))
    file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", text)})
    assert file.status_code == 200, file.text
    asked = {"input_file_id": file.json()["id"], "endpoint": line["url"]}
    batch = client.post("/v1/batches", json={**asked, "completion_window": "24h"})
    assert batch.status_code == 200, batch.text
    over = ended(client, f"/v1/batches/{batch.json()['id']}", "completed", "failed", "expired")
    assert over["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}, over
    output = client.get(f"/v1/files/{over['output_file_id']}/content").text
    assert {json.loads(one)["custom_id"] for one in output.splitlines()} == set(
        map(str, range(LINES))
    )
