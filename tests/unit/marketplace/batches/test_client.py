"""A batch over the public API: sent, followed through an outage, fetched; and its command."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from marketplace.batches import client as module
from marketplace.batches.client import BatchClient, BatchClientError
from marketplace.batches.management.commands import batch as command

ROWS = b"id,usd\nt1,2\n"
CALL = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'


def batch_as(status: str, **columns: Any) -> dict[str, Any]:
    return {
        "id": "batch_1",
        "status": status,
        "request_counts": {"total": 1, "completed": 0, "failed": 0},
        "lines_per_second": 0.0,
        "completed_at": None,
        "failed_at": None,
        "output_file_id": None,
        "error_file_id": None,
        "errors": None,
        **columns,
    }


COMPLETED = batch_as(
    "completed",
    completed_at=1,
    output_file_id="file-2",
    request_counts={"total": 1, "completed": 1, "failed": 0},
)


class Site:
    """Takes one batch; ``polls`` are what it answers when it is asked about it, in turn."""

    def __init__(self, *polls: Callable[[], httpx.Response]) -> None:
        self.polls = list(polls)
        self.asked: dict[str, Any] = {}
        self.uploaded = b""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path:
            case "POST", "/v1/files":
                self.uploaded = request.read()
                return httpx.Response(200, json={"id": "file-1"})
            case "POST", "/v1/batches":
                self.asked = json.loads(request.read())
                return httpx.Response(200, json=batch_as("validating"))
            case "GET", "/v1/files/file-2/content":
                return httpx.Response(200, content=b"id,usd,P\nt1,2,0.5\n")
        return self.polls.pop(0)()

    def client(self) -> BatchClient:
        return BatchClient("http://site", "key", transport=httpx.MockTransport(self))


def broken() -> httpx.Response:
    raise httpx.ConnectError("refused")


def answer(given: dict[str, Any], status: int = 200) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, json=given)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.0)


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "rows.csv"
    path.write_bytes(content)
    return path


def test_rows_are_sent_to_their_model_and_calls_to_what_they_name(tmp_path: Path) -> None:
    site = Site()
    with closing(site.client()) as client:
        client.begin(file_of(tmp_path, ROWS), model="a/b", completion_window="1h")
        assert site.asked == {
            "input_file_id": "file-1",
            "endpoint": "/v2/models/a/b/infer",
            "completion_window": "1h",
        }
        assert ROWS in site.uploaded
        client.begin(file_of(tmp_path, CALL))
        assert site.asked["endpoint"] == "/v1/chat/completions"
        with pytest.raises(BatchClientError, match="name the model"):
            client.begin(file_of(tmp_path, ROWS))


def test_it_is_followed_through_an_outage_to_its_end(tmp_path: Path) -> None:
    site = Site(broken, answer({}, 503), answer(batch_as("in_progress")), answer(COMPLETED))
    seen: list[str] = []
    with closing(site.client()) as client:
        end = client.follow(batch_as("validating"), lambda batch: seen.append(batch["status"]))
    assert end == COMPLETED
    assert list(dict.fromkeys(seen)) == ["validating", "in_progress", "completed"]


def test_an_outage_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY_S", 0.0)
    with closing(Site(broken).client()) as client, pytest.raises(BatchClientError, match="refused"):
        client.follow(batch_as("validating"), lambda _: None)


def test_an_error_says_what_the_site_said(tmp_path: Path) -> None:
    refused = answer({"error": {"message": "no such batch"}}, 404)
    with (
        closing(Site(refused).client()) as client,
        pytest.raises(BatchClientError, match="404: no such batch"),
    ):
        client.follow(batch_as("validating"), lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, site: Site, *words: str) -> None:
    monkeypatch.setattr(command, "BatchClient", lambda *_: site.client())
    call_command("batch", "run", *words)


def test_the_command_writes_the_output_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, ROWS)
    run(monkeypatch, Site(answer(COMPLETED)), str(path), "--model", "a/b", "--key", "k")
    assert (tmp_path / "rows_output.csv").read_bytes() == b"id,usd,P\nt1,2,0.5\n"
    assert "batch_1  completed  1 of 1" in capsys.readouterr().err


def test_the_command_fails_where_not_all_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = {"data": [{"line": 2, "message": "This is no row."}]}
    failed = batch_as("failed", failed_at=1, errors=errors)
    with pytest.raises(CommandError, match="batch_1 is failed"):
        run(
            monkeypatch,
            Site(answer(failed)),
            str(file_of(tmp_path, ROWS)),
            "--model=a/b",
            "--key=k",
        )
    assert "line 2: This is no row." in capsys.readouterr().err


def test_the_command_wants_a_key_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYPOST_KEY", raising=False)
    with pytest.raises(CommandError, match="WAYPOST_KEY"):
        call_command("batch", "run", str(file_of(tmp_path, ROWS)))
    with pytest.raises(CommandError, match="no file"):
        call_command("batch", "run", str(tmp_path / "none.csv"), "--key", "k")
