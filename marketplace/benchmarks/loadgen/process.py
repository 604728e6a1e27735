"""The process in which one LoadGen test runs, seen from its parent."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import msgspec
from django.conf import settings

from marketplace.benchmarks.loadgen.messages import Failed, Measured, Progress, Report, Request

STOP_TIMEOUT_S = 5.0
STDERR_CHARACTERS = 400


class LoadGenProcess:
    """Runs in a ``with`` block, and is killed at its end. It also ends when its parent does."""

    def __init__(self, request: Request, out: Path) -> None:
        self._request = request
        self._out = out
        self._over = threading.Event()
        self._progress = Progress()
        self._ending: Measured | Failed | None = None

    def __enter__(self) -> LoadGenProcess:
        self._stderr = (self._out / "stderr.txt").open("w+")
        self._process = subprocess.Popen(  # noqa: S603 # our own module
            [sys.executable, "-m", "marketplace.benchmarks.loadgen", str(self._out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=settings.BASE_DIR,
        )
        # On standard input and nowhere else: it may carry a bearer.
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(msgspec.json.encode(self._request).decode() + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._reader.join(STOP_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                pipe.close()

    @property
    def progress(self) -> Progress:
        """Its last report."""
        return self._progress

    def wait(self, timeout_s: float) -> Measured | Failed | None:
        """What came of it once it has ended; None while it runs."""
        if not self._over.wait(timeout_s):
            return None
        if self._ending is not None:
            return self._ending
        status = self._process.wait(STOP_TIMEOUT_S)
        self._stderr.seek(0)
        stderr = self._stderr.read()[-STDERR_CHARACTERS:].strip()
        return Failed(f"LoadGen's process ended with status {status}: {stderr}")

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            try:
                report = msgspec.json.decode(line, type=Report)
            except ValueError:
                continue
            if isinstance(report, Progress):
                self._progress = report
            else:
                self._ending = report
        self._over.set()
