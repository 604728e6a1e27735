"""Runs the core's steps over httpx: one transport that blocks, one that is awaited."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx

from waypost.config import Config
from waypost.errors import NotConfigured
from waypost.wire import Broken, Effect, Emit, Head, Items, More, Open, Pause, Request, Steps

T = TypeVar("T")

CONNECT_S = 5.0
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Blocking:
    """Runs operations in the caller's thread. Threads may share it."""

    def __init__(self, config: Config, transport: httpx.BaseTransport | None = None) -> None:
        self._build = _Build(config)
        self._http = httpx.Client(transport=transport, cookies=_no_cookies())

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def run(self, steps: Steps[T]) -> T:
        """The operation's value."""
        exchange = _Exchange(self._http, self._build)
        result = None
        try:
            while True:
                try:
                    effect = steps.send(result)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                result = exchange.perform(effect)
        finally:
            steps.close()
            exchange.close()

    def stream(self, items: Items[T]) -> Stream[T]:
        """The operation's items."""
        return Stream(self._items(items))

    def _items(self, items: Items[T]) -> Generator[T, None, None]:
        exchange = _Exchange(self._http, self._build)
        result = None
        try:
            while True:
                try:
                    effect = items.send(result)
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    result = None
                    yield effect.item
                else:
                    result = exchange.perform(effect)
        finally:
            items.close()
            exchange.close()


class _Exchange:
    def __init__(self, http: httpx.Client, build: _Build) -> None:
        self._http, self._build = http, build
        self._response: httpx.Response | None = None
        self._parts: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> Any:
        try:
            if isinstance(effect, Open):
                return self._open(effect.request)
            if isinstance(effect, More):
                return next(self._parts, b"")
            if isinstance(effect, Pause):
                time.sleep(effect.seconds)
            else:
                self.close()
        except httpx.HTTPError as error:
            self.close()
            return _broken(error)

    def _open(self, request: Request) -> Head:
        self.close()
        with ExitStack() as files:
            response = self._http.send(self._build.request(self._http, request, files), stream=True)
        self._response, self._parts = response, response.iter_bytes()
        return _head(response)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


class Awaiting:
    """Runs operations in the running event loop. Tasks may share it."""

    def __init__(self, config: Config, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._build = _Build(config)
        self._http = httpx.AsyncClient(transport=transport, cookies=_no_cookies())

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """The operation's value."""
        exchange = _AsyncExchange(self._http, self._build)
        result = None
        try:
            while True:
                try:
                    effect = steps.send(result)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                result = await exchange.perform(effect)
        finally:
            steps.close()
            await exchange.close()

    def stream(self, items: Items[T]) -> AsyncStream[T]:
        """The operation's items."""
        return AsyncStream(self._items(items))

    async def _items(self, items: Items[T]) -> AsyncGenerator[T, None]:
        exchange = _AsyncExchange(self._http, self._build)
        result = None
        try:
            while True:
                try:
                    effect = items.send(result)
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    result = None
                    yield effect.item
                else:
                    result = await exchange.perform(effect)
        finally:
            items.close()
            await exchange.close()


class _AsyncExchange:
    def __init__(self, http: httpx.AsyncClient, build: _Build) -> None:
        self._http, self._build = http, build
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None

    async def perform(self, effect: Effect) -> Any:
        try:
            if isinstance(effect, Open):
                return await self._open(effect.request)
            if isinstance(effect, More):
                return b"" if self._parts is None else await anext_or(self._parts)
            if isinstance(effect, Pause):
                await asyncio.sleep(effect.seconds)
            else:
                await self.close()
        except httpx.HTTPError as error:
            await self.close()
            return _broken(error)

    async def _open(self, request: Request) -> Head:
        await self.close()
        with ExitStack() as files:
            response = await self._http.send(
                self._build.request(self._http, request, files), stream=True
            )
        self._response, self._parts = response, response.aiter_bytes()
        return _head(response)

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None


async def anext_or(parts: AsyncIterator[bytes]) -> bytes:
    """The next part, ``b""`` at the end."""
    try:
        return await parts.__anext__()
    except StopAsyncIteration:
        return b""


# --- what an iteration is ---------------------------------------------------------------------


class Stream(Generic[T]):
    """Items as they come. Leave it by ``with`` or :meth:`close` before its end to end the call."""

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self._items

    def __next__(self) -> T:
        return next(self._items)

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._items.close()


class AsyncStream(Generic[T]):
    """The same with ``async for``, ``async with`` and an awaited :meth:`close`."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items

    async def __anext__(self) -> T:
        return await self._items.__anext__()

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it."""
        await self._items.aclose()


# --- httpx ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Build:
    """Makes httpx's request of ours."""

    config: Config

    def request(
        self, http: httpx.Client | httpx.AsyncClient, request: Request, files: ExitStack
    ) -> httpx.Request:
        config = self.config
        is_router = request.plane == "router"
        origin = config.base_url if is_router else config.management_url
        quiet_s = request.quiet_s or config.quiet_s
        body: dict[str, Any] = {"content": request.content}
        if upload := request.upload:
            file = files.enter_context(_Counted(upload.path, upload.on_bytes))
            body = {"data": upload.fields, "files": {"file": (upload.path.name, file)}}
        try:
            return http.build_request(
                request.method,
                origin + request.path,
                params=request.params or None,
                headers={**config.headers(is_router=is_router), **request.headers},
                timeout=httpx.Timeout(quiet_s, connect=CONNECT_S),
                **body,
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise NotConfigured(f"{origin} is no address: {error}") from error


def _no_cookies() -> CookieJar:
    """Keeps none of those that answers set."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Counted(io.FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Any, on_bytes: Any) -> None:
        super().__init__(path, "rb")
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(-1 if size is None else size) or b""
        if self._on_bytes is not None:
            self._on_bytes(self.tell())
        return part


def _head(response: httpx.Response) -> Head:
    return Head(
        response.status_code,
        {name.lower(): value for name, value in response.headers.items()},
    )


def _broken(error: httpx.HTTPError) -> Broken:
    said = str(error) or type(error).__name__
    url = getattr(error, "_request", None) and error.request.url.copy_with(query=None)
    return Broken(
        f"{url}: {said}" if url else said,
        was_sent=not isinstance(error, NOT_SENT),
        is_timeout=isinstance(error, httpx.TimeoutException),
    )
