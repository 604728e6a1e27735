"""Running a real server of ours for a test, as `python -m …` on free ports."""

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

START_TIMEOUT_S = 300
"""A bound on waiting for ever, not on how soon: a cold and busy machine takes a minute."""
POLL_S = 0.05


@contextlib.contextmanager
def backend(
    words: list[str], ready_url: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m <words>`` until the block ends; ready when the URL answers 200.

    ``env`` is put over this process's own.
    """
    with running(words, lambda: answers(ready_url), log, env) as process:
        yield process


@contextlib.contextmanager
def running(
    words: list[str],
    is_ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The same, for what is asked in another way whether it is ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    try:
        wait_until_ready(process, is_ready, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


get = functools.partial(httpx.get, verify=False)
"""Without reading the certificates of the system, which takes 20 ms of processor each time."""


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with contextlib.suppress(httpx.TransportError):
        return get(url, timeout=2).status_code == 200
    return False


def wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if is_ready():
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"{process.args!r} did not become ready:\n{log.read_text()[-2000:]}")
