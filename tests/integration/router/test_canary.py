"""No secret and no prompt leaves the router but to where it belongs."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.backend import backend
from tests.ports import free_ports

KEY = "canary-of-the-key"
PROMPT = "canary-of-the-prompt"
OTHER = "canary-of-another-key"
MODEL = "emulated/gpt-j-6b"


def test_neither_key_nor_prompt_is_in_a_log_a_metric_the_state_or_an_error(
    emulator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "ROUTER_LOG_CALLS", "1")
    monkeypatch.setitem(os.environ, "ROUTER_LOG_FORMAT", "json")
    monkeypatch.setitem(os.environ, "ROUTER_LOG_LEVEL", "DEBUG")
    fleet = [
        {"id": "ok", "url": f"{emulator_url}/emulated-h100-0", "class": "h", "slots": 2},
        {"id": "no", "url": "http://127.0.0.1:1", "class": "n", "slots": 2, "model": "broken/one"},
    ]
    fleet[0]["model"] = MODEL
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))
    (port,) = free_ports(1)
    url, log = f"http://127.0.0.1:{port}", tmp_path / "router.log"
    words = ["router", "--fleet", str(path), "--port", str(port), "--key", KEY]
    reports: list[str] = []
    statuses: list[int] = []
    with backend(words, f"{url}/readyz", log), httpx.Client(base_url=url) as client:

        def call(key: str, model: str, **fields: object) -> None:
            messages = [{"role": "user", "content": PROMPT}]
            body = {"model": model, "messages": messages, "max_tokens": 2, **fields}
            headers = {"authorization": f"Bearer {key}"}
            answer = client.post("/v1/chat/completions", json=body, headers=headers)
            statuses.append(answer.status_code)
            if answer.status_code != 200:
                reports.append(answer.text)

        call(KEY, MODEL)
        call(KEY, MODEL, stream=True)
        call(OTHER, MODEL)
        call(KEY, "nobody/nothing")
        call(KEY, "broken/one")
        call(KEY, MODEL, max_tokens=-1)
        call(KEY, MODEL, n=PROMPT)
        admin = {"authorization": f"Bearer {KEY}"}
        pages = [client.get(page, headers=admin) for page in ("/metrics", "/admin/state")]
        reports += [page.raise_for_status().text for page in pages]
    assert statuses == [200, 200, 401, 404, 502, 422, 422]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(line["logger"] == "router.calls" for line in lines) == 3
    reports.append(log.read_text())
    for text in reports:
        assert "canary" not in text
