"""Real inference servers, started once for these tests on free ports."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import free_ports

START_TIMEOUT_S = 60
POLL_S = 0.05


@contextlib.contextmanager
def backend(words: list[str], ready_url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m <words>`` until the block ends; ready when the URL answers 200."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(process, ready_url, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        time.sleep(POLL_S)
    raise RuntimeError(f"{url} did not become ready:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = free_ports(1)
    words = ["workers.backends.llama_cpp", "--port", str(port), "--slots", "2", "--threads", "1"]
    log = tmp_path_factory.mktemp("llama") / "log"
    with backend(words, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def triton_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("triton")
    http, grpc, metrics = map(str, free_ports(3))
    words = ["workers.backends.triton", "--profile", "batched", "--home", str(home)]
    words += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
    with backend(words, f"http://127.0.0.1:{http}/v2/health/ready", home / "log"):
        yield f"http://127.0.0.1:{http}"


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("emulator") / "log"
    words = ["workers.backends.emulator", "--port", str(port)]
    with backend(words, f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}"
