"""Running a real server of ours for a test, as `python -m …` on free ports."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

START_TIMEOUT_S = 300
"""A bound on waiting for ever, not on how soon: a cold and busy machine takes a minute."""
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
            process.wait(60)
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
