"""``python -m router --fleet``: a real router process over the emulated fleet."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.backend import backend, get
from tests.patience import PATIENCE_S
from tests.ports import free_ports

KEY = "a-key-of-ones-own"
MODEL = "emulated/gpt-j-6b"
HELLO = [{"role": "user", "content": "hello"}]
POLL_S = 0.02
CANCEL_WITHIN_S = 1.0


@contextlib.contextmanager
def router(fleet: list[dict], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A router alone over a fleet; yields its process and base URL."""
    path = folder / "fleet.json"
    path.write_text(json.dumps(fleet))
    (port,) = free_ports(1)
    words = ["router", "--fleet", str(path), "--port", str(port), "--key", KEY]
    url = f"http://127.0.0.1:{port}"
    with backend(words, f"{url}/readyz", folder / "router.log") as process:
        yield process, url


def worker(emulator_url: str, name: str, slots: int = 4) -> dict:
    return {
        "id": name,
        "url": f"{emulator_url}/{name}",
        "class": name.rpartition("-")[0],
        "slots": slots,
        "model": MODEL,
    }


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60)


def test_it_answers_streams_and_counts(emulator_url: str, tmp_path: Path) -> None:
    fleet = [worker(emulator_url, "emulated-h100-0"), worker(emulator_url, "emulated-cpu-0")]
    with router(fleet, tmp_path) as (_, url):
        client = client_of(url)
        assert [model.id for model in client.models.list()] == [MODEL]
        answer = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=HELLO, max_tokens=4
        )
        assert answer.parse().usage.completion_tokens == 4
        assert answer.headers["x-route-worker"] in {"emulated-h100-0", "emulated-cpu-0"}
        chunks = list(
            client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5, stream=True)
        )
        assert all(chunk.choices for chunk in chunks), "usage that was not asked for was shown"
        assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 5
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="another").models.list()


@pytest.mark.nightly  # As in the scheduler's own tests.
def test_it_learns_which_worker_is_fast(emulator_url: str, tmp_path: Path) -> None:
    fleet = [worker(emulator_url, "emulated-cpu-0"), worker(emulator_url, "emulated-h100-1")]
    with router(fleet, tmp_path) as (_, url):
        client = client_of(url)
        went = [
            client.chat.completions.with_raw_response.create(
                model=MODEL, messages=HELLO, max_tokens=3
            ).headers["x-route-worker"]
            for _ in range(8)
        ]
    assert went[2:] == ["emulated-h100-1"] * 6


def test_a_worker_that_is_down_at_start_is_used_once_it_is_up(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    fleet = [worker(f"http://127.0.0.1:{port}", "emulated-h100-0")]
    with router(fleet, tmp_path) as (_, url):
        call = {"model": MODEL, "messages": HELLO, "max_tokens": 2}
        headers = {"authorization": f"Bearer {KEY}"}
        down = httpx.post(f"{url}/v1/chat/completions", json=call, headers=headers, timeout=60)
        assert down.status_code == 502
        assert down.json()["error"]["code"] == "worker_failed"
        words = ["workers.backends.emulator", "--port", str(port)]
        with backend(words, f"http://127.0.0.1:{port}/health", tmp_path / "emulator.log"):
            up = httpx.post(f"{url}/v1/chat/completions", json=call, headers=headers, timeout=60)
        assert up.status_code == 200


def test_a_client_that_leaves_stops_the_worker_within_a_second(
    emulator_url: str, tmp_path: Path
) -> None:
    name = "emulated-rtx4090-1"
    state = f"{emulator_url}/{name}/emulator"
    before = get(state).json()["cancelled"]
    for stream in (True, False):
        with router([worker(emulator_url, name)], tmp_path) as (_, url):
            _leave_after_dispatch(url, state, stream=stream)
            left = time.monotonic()
            while get(state).json()["running"]:
                assert time.monotonic() - left < CANCEL_WITHIN_S
                time.sleep(POLL_S)
    assert get(state).json()["cancelled"] == before + 2


def _leave_after_dispatch(url: str, state: str, *, stream: bool) -> None:
    """Open a long call by hand, wait until the worker runs it, and hang up."""
    body = json.dumps(
        {"model": MODEL, "messages": HELLO, "max_tokens": 500, "stream": stream}
    ).encode()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        deadline = time.monotonic() + 60
        while not get(state).json()["running"]:
            assert time.monotonic() < deadline
            time.sleep(POLL_S)


def test_a_stopping_router_lets_a_stream_finish(emulator_url: str, tmp_path: Path) -> None:
    with router([worker(emulator_url, "emulated-tpu-v5e-1")], tmp_path) as (process, url):
        stream = client_of(url).chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=60, stream=True
        )
        words = [next(stream)]
        process.send_signal(signal.SIGTERM)
        words += list(stream)
        assert sum(bool(w.choices[0].delta.content) for w in words) == 60
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "the list is empty"),
        pytest.param("{", "expected", marks=pytest.mark.nightly),
        pytest.param(
            '[{"id": "a", "url": "ftp://x", "class": "c", "slots": 1}]',
            "begins with http:// or https://",
            marks=pytest.mark.nightly,
        ),
        ('[{"id": "a", "url": "http://x", "class": "c"}]', "slots"),
    ],
)
def test_a_fleet_file_that_makes_no_sense_is_one_clear_line(
    tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(content)
    found = subprocess.run(
        [sys.executable, "-m", "router", "--fleet", str(path), "--port", str(free_ports(1)[0])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2
    assert says in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text('[{"id": "a", "url": "http://127.0.0.1:9", "class": "c", "slots": 1}]')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = subprocess.run(
            [sys.executable, "-m", "router", "--fleet", str(path), "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "choose another" in found.stderr
