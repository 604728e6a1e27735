"""How one request of a benchmark is sent, and what is measured of it. No Django.

Over HTTP by aiohttp, which takes a tenth of httpx's CPU (docs/explanation/benchmarks.md has the
figures): where a worker answers in a millisecond, the client's own time is part of the result.
"""

import asyncio
import itertools
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from marketplace.benchmarks.loadgen import requests
from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.loadgen.samples import Sample
from marketplace.benchmarks.loadgen.token_stream import ERROR_CHARACTERS, TokenStream
from router.domain.addresses import host_and_port

CONNECT_TIMEOUT_S = 5.0
GRPC_PORT = 8001
ANSWER_BYTES_MAX = 256 * 1024 * 1024
NUMBERS = 9 * 10**9
"""The numbers of requests begin at random below this: they have ten digits."""
USAGE_BYTES = 400
"""An embeddings answer counts its tokens within so many bytes of its start or end."""
TOKENS = re.compile(rb'"prompt_tokens"\s*:\s*(\d+)')
TIMING = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go. ``protocol`` is the catalog's: openai, oip or oip_grpc.

    ``model`` is its name there. Connections go to ``address``, whatever address the URL's host name
    has by then; "" looks the name up.
    """

    url: str
    protocol: str
    model: str
    is_router: bool = False
    address: str = ""


class Caller(Protocol):
    """Sends the library's requests."""

    size: int

    async def call(self, index: int, on_first: Callable[[], None]) -> Sample:
        """Send request ``index`` and wait for its end; ``on_first`` at the first token."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def caller_of(
    plan: Plan,
    servers: Sequence[Server],
    inputs: Sequence[Mapping[str, Any]],
    headers: tuple[tuple[str, str], ...] = (),
) -> Caller:
    """Calls these servers in turn. Raises ``ValueError`` for what cannot be called."""
    callers = [_caller(plan, server, inputs, headers) for server in servers]
    if not callers:
        raise ValueError("there is no worker to call")
    return callers[0] if len(callers) == 1 else InTurn(callers)


class InTurn:
    """Each request goes to the next one."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._callers = callers
        self._next = itertools.cycle(enumerate(callers))
        self.size = min(caller.size for caller in callers)

    async def call(self, index: int, on_first: Callable[[], None]) -> Sample:
        number, caller = next(self._next)
        sample = await caller.call(index, on_first)
        sample.server = number
        return sample

    async def close(self) -> None:
        for caller in self._callers:
            await caller.close()


class HttpCaller:
    """OpenAI's API and the Open Inference Protocol over HTTP."""

    def __init__(
        self,
        server: Server,
        library: Sequence[requests.Body],
        headers: tuple[tuple[str, str], ...],
        timeout_s: float,
    ) -> None:
        parts = urlsplit(server.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"a worker's URL looks like http://host:port, got {server.url!r}")
        self._url = server.url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        self._opened: aiohttp.ClientSession | None = None
        self._library = library
        self._headers = headers
        # Each point has its own process: at random, so that no two points have the same numbers.
        self._numbers = itertools.count(secrets.randbelow(NUMBERS))
        self._routed = server.is_router
        self._resolver = _Pinned(server.address) if server.address else None
        self.size = len(library)

    async def call(self, index: int, on_first: Callable[[], None]) -> Sample:
        body = self._library[index % self.size]
        content = body.numbered(next(self._numbers))
        started = time.monotonic()
        sample = Sample(started)
        stream = TokenStream(started, on_first) if body.streamed else None
        timing, seen_ms = "", 0.0
        try:
            async with await self._post(body, content) as answer:
                seen_ms = (time.monotonic() - started) * 1e3
                timing = answer.headers.get("server-timing", "")
                received = await _received(answer, stream.feed if stream else None)
        except (aiohttp.ClientError, TimeoutError, AnswerTooLong) as error:
            reason = str(error) or f"no answer within {self._timeout.total:g} s"
            sample.error = f"{type(error).__name__}: {reason}"[:ERROR_CHARACTERS]
            sample.total_ms = (time.monotonic() - started) * 1e3
            return sample
        sample.total_ms = (time.monotonic() - started) * 1e3
        if answer.status != 200:
            text = (stream.text if stream else bytes(received)).decode(errors="replace")
            sample.error = f"HTTP {answer.status}: {text}"[:ERROR_CHARACTERS]
        elif stream:
            stream.fill(sample)
        else:
            sample.tokens = _tokens_in(received)
        if self._routed:
            # The headers of a stream come with its first byte, and tell the times up to it.
            _route_share(sample, timing, seen_ms if stream else sample.total_ms)
        return sample

    async def _post(self, body: requests.Body, content: bytes) -> aiohttp.ClientResponse:
        """Send the request; once more where the connection was closed before any answer.

        A server may close an idle connection at any moment; llama.cpp's does after each stream.
        """
        url = self._url + body.path
        headers = (*body.headers, *self._headers)

        async def ask() -> aiohttp.ClientResponse:
            # Redirects are not followed: a worker must not make us call what it cannot reach.
            return await self._session.post(
                url, data=content, headers=headers, allow_redirects=False
            )

        try:
            return await ask()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise
            return await ask()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        # A session belongs to the event loop, which does not run yet in __init__.
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=self._resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                skip_auto_headers=("accept-encoding", "user-agent"),
            )
        return self._opened


class _Pinned(AbstractResolver):
    """Resolves every name to one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        is_v6 = ":" in self._address
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=port,
                family=socket.AF_INET6 if is_v6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is open, so nothing is closed."""


class GrpcCaller:
    """The Open Inference Protocol over gRPC, by Triton's own client."""

    def __init__(
        self,
        server: Server,
        library: Sequence[Sequence[requests.Tensor]],
        timeout_s: float,
    ) -> None:
        parts = urlsplit(server.url)
        pinned = server.address and host_and_port(server.address, parts.port or GRPC_PORT)
        self._target = pinned or parts.netloc
        self._model = server.model
        self._library = [_infer_inputs(tensors) for tensors in library]
        self._timeout_s = timeout_s
        self._client: Any = None
        self.size = len(self._library)

    async def call(self, index: int, on_first: Callable[[], None]) -> Sample:
        # Imported late: only who calls gRPC needs it, and it takes half a second.
        import grpc.aio  # noqa: PLC0415
        from tritonclient.grpc.aio import InferenceServerClient  # noqa: PLC0415
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415

        if self._client is None:
            self._client = InferenceServerClient(self._target)
        started = time.monotonic()
        sample = Sample(started)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.infer(self._model, self._library[index % self.size])
        except (InferenceServerException, grpc.aio.AioRpcError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            sample.error = f"gRPC: {reason}"[:ERROR_CHARACTERS]
        sample.total_ms = (time.monotonic() - started) * 1e3
        return sample

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class AnswerTooLong(Exception):
    """A worker sends more than an answer may have."""


async def _received(
    answer: aiohttp.ClientResponse, feed: Callable[[bytes], None] | None
) -> bytearray:
    """The body, or nothing where ``feed`` gets its chunks as they come."""
    found, size = bytearray(), 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            raise AnswerTooLong(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        if feed:
            feed(chunk)
        else:
            found += chunk
    return found


def _caller(
    plan: Plan,
    server: Server,
    inputs: Sequence[Mapping[str, Any]],
    headers: tuple[tuple[str, str], ...],
) -> Caller:
    # A request that hangs ends a little later than the test may last.
    timeout_s = plan.seconds_max + 5
    if server.protocol == "oip_grpc":
        first = requests.tensors_of(plan, inputs, 0)
        size = requests.library_size(sum(tensor.array.nbytes for tensor in first))
        library = [requests.tensors_of(plan, inputs, index) for index in range(size)]
        return GrpcCaller(server, library, timeout_s)

    def body(index: int) -> requests.Body:
        if server.protocol == "oip":
            tensors = requests.tensors_of(plan, inputs, index)
            return requests.oip_body(plan, server.model, tensors)
        return requests.openai_body(plan, server.model, index, exact=not server.is_router)

    size = requests.library_size(len(body(0).content))
    return HttpCaller(server, [body(index) for index in range(size)], headers, timeout_s)


def _infer_inputs(tensors: Sequence[requests.Tensor]) -> list[Any]:
    from tritonclient.grpc import InferInput  # noqa: PLC0415 # see GrpcCaller.call

    found = []
    for tensor in tensors:
        entry = InferInput(tensor.name, list(tensor.array.shape), tensor.datatype)
        entry.set_data_from_numpy(tensor.array)
        found.append(entry)
    return found


def _tokens_in(content: bytearray) -> int:
    """Prompt tokens that an embeddings answer counts; 0 where none are."""
    # Engines put their count last or, as llama.cpp does, before the vectors.
    for part in (content[-USAGE_BYTES:], content[:USAGE_BYTES]):
        if found := TOKENS.search(part):
            return int(found[1])
    return 0


def _route_share(sample: Sample, timing: str, seen_ms: float) -> None:
    """Note the router's own part of ``seen_ms``: the header tells what the worker took of it."""
    found = {name: float(ms) for name, ms in TIMING.findall(timing)}
    if "queue" not in found or sample.error:
        return
    sample.queue_ms = found["queue"]
    sample.router_ms = max(0.0, seen_ms - found.get("upstream", 0.0))
