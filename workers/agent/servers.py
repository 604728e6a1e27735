"""One inference server: its process, and what it says when asked."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from workers.agent.child import prefix
from workers.agent.engines import KINDS, WARM_UPS, requests_running
from workers.agent.settings import EngineSpec

ASK_TIMEOUT_S = 3.0
WARM_UP_TIMEOUT_S = 120.0
METRICS_BYTES_MAX = 4 * 1024 * 1024
STOP_GRACE_S = 30.0
LOG_TAIL_BYTES = 300
HIDDEN = "•••"
PORT = re.compile(r"\{port(?:\+(\d))?\}")
"""``{port}`` is the server's first port, ``{port+1}`` the next one."""


class NotReady(Exception):
    """It does not answer as it should; the message says how."""


@dataclass(slots=True)
class Process:
    """A server that the agent started, in its own process group."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def ended(self) -> str:
        """How it ended by itself, with its last line; "" while it runs."""
        status = self.process.returncode
        if status is None:
            return ""
        tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"it ended with status {status}: {tail.rpartition(chr(10))[2]}"[:200]

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left of its group after `STOP_GRACE_S`."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_S):
                await self.process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


async def process_start(
    spec: EngineSpec, port: int, log: Path, environment: Mapping[str, str]
) -> Process:
    """Start a server. Raises ``OSError`` where there is no such program, or a port is taken."""
    # Whoever has the port would be asked whether the new server is ready, and get its calls.
    for offset in sorted({int(found[1] or 0) for found in PORT.finditer(" ".join(spec.command))}):
        _require_free(port + offset)
    words = [PORT.sub(lambda found: str(port + int(found[1] or 0)), word) for word in spec.command]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *prefix(),
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    return Process(process, log)


def _require_free(port: int) -> None:
    with socket.socket() as tried:
        # The last server's closed connections take nobody's port.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError as error:
            raise OSError(
                f"port {port} is not free ({error.strerror}): end what has it, or choose another"
                " --port"
            ) from error


class Asked:
    """Asks servers of one kind, with the ``key`` that they want. All share its connections."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None, key: str = "") -> None:
        self._client = httpx.AsyncClient(
            timeout=ASK_TIMEOUT_S,
            transport=transport,
            trust_env=False,
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )
        self._key = key

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.aclose()

    async def ready(self, spec: EngineSpec, url: str) -> None:
        """Raises :class:`NotReady`. Of a gang's rank above 0 it is enough that its process runs."""
        if spec.rank:
            return
        paths = [KINDS[spec.engine].ready]
        if spec.task == "tensors" and spec.called:
            paths.append(f"/v2/models/{spec.called}/ready")
        for path in paths:
            response = await self._get(url + path)
            if not response.is_success:
                raise NotReady(f"GET {path}: HTTP {response.status_code}")

    async def warm_up(self, spec: EngineSpec, url: str) -> None:
        """A first inference, which takes longer than later ones. Raises :class:`NotReady`."""
        if spec.task not in WARM_UPS or spec.rank:
            return
        path, body = WARM_UPS[spec.task]
        try:
            response = await self._client.post(
                url + path, json={"model": spec.called, **body}, timeout=WARM_UP_TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise NotReady(f"POST {path}: {type(error).__name__}") from error
        if not response.is_success:
            said = response.text.replace(self._key, HIDDEN) if self._key else response.text
            raise NotReady(f"POST {path}: HTTP {response.status_code}: {said[:100]}")

    async def version(self, spec: EngineSpec, url: str) -> str:
        """What it says of its version; "" where it says nothing."""
        path, key = KINDS[spec.engine].version
        if spec.rank:
            return ""
        try:
            found = (await self._get(url + path)).json()
            return str(found.get(key, ""))[:80]
        except (NotReady, ValueError, AttributeError):
            return ""

    async def running(self, spec: EngineSpec, url: str) -> int | None:
        """How many requests it has; None where it does not say."""
        kind = KINDS[spec.engine]
        if not kind.requests or spec.rank:
            return None
        try:
            response = await self._get(f"{url}/metrics")
        except NotReady:
            return None
        if not response.is_success or len(response.content) > METRICS_BYTES_MAX:
            return None
        return requests_running(response.text, kind)

    async def _get(self, url: str) -> httpx.Response:
        try:
            return await self._client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotReady(f"{type(error).__name__}: {error}".strip(": ")) from error
