"""An operation is written once, as a generator, and is a method of both clients.

``Client.models.list()`` returns its value, ``AsyncClient.models.list()`` an awaitable of it: the
descriptors below run the same generator by the client's transport, and type checkers see which.
"""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from waypost.errors import (
    AnswerInvalid,
    ApiError,
    ConnectionBroken,
    StreamBroken,
    TimedOut,
    Unreachable,
    WaypostError,
    error_of,
)
from waypost.retries import Retries, retry_after_s
from waypost.wire import Broken, Close, Head, Items, More, Open, Pause, Request, Steps

if TYPE_CHECKING:
    from waypost.transports import AsyncStream, Awaiting, Blocking, Stream

P = ParamSpec("P")
T = TypeVar("T")
IO = TypeVar("IO", bound="Blocking | Awaiting")

ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""Of an answer that is kept in memory. Files are written as they come."""


@dataclass(frozen=True)
class Core:
    """What every operation knows: how to try again, a source of chance, a monotonic clock."""

    retries: Retries = field(default_factory=Retries)
    chance: random.Random = field(default_factory=random.SystemRandom)
    clock: Callable[[], float] = time.monotonic


class Resource(Generic[IO]):
    """Some operations, over a transport."""

    def __init__(self, io: IO, core: Core) -> None:
        self._io = io
        self._core = core

    def _open(self, request: Request) -> Steps[Head]:
        """The head of an answer that says yes, whose body is open. Raises as :meth:`_send`."""
        tries = 0
        while True:
            tries += 1
            head = yield Open(request)
            jitter = self._core.chance.random()
            if isinstance(head, Broken):
                pause_s = self._core.retries.after_break(head, request, tries=tries, jitter=jitter)
                error: WaypostError = break_error(head)
            elif head.is_success:
                return head  # type: ignore[no-any-return]
            else:
                error, is_ours = yield from self._refusal(head)
                pause_s = self._core.retries.after_answer(
                    head.status,
                    head.headers,
                    request,
                    is_ours=is_ours,
                    tries=tries,
                    jitter=jitter,
                )
            if pause_s is None:
                raise error
            yield Pause(pause_s)

    def _send(self, request: Request) -> Steps[Whole]:
        """A whole answer that says yes.

        Raises :class:`ApiError`, :class:`Unreachable` or :class:`ConnectionBroken` after the last
        try. What breaks off within its body is not sent again.
        """
        head = yield from self._open(request)
        body = yield from _rest_of_body()
        yield Close()
        return Whole(head, body)

    def _json(self, request: Request) -> Steps[Any]:
        """The same, as JSON."""
        return (yield from self._send(request)).json()

    def _refusal(self, head: Head) -> Steps[tuple[ApiError, bool]]:
        """What an answer says, and whether it is in the API's own shape."""
        body = yield from _rest_of_body()
        yield Close()
        said: Any
        try:
            said = json.loads(body)
            is_ours = isinstance(said, dict) and ("error" in said or "title" in said)
        except ValueError:
            said, is_ours = body.decode("utf-8", "replace"), False
        error = error_of(
            head.status,
            said,
            request_id=head.headers.get("x-request-id", ""),
            retry_after_s=retry_after_s(head.headers),
        )
        return error, is_ours


@dataclass(frozen=True)
class Whole:
    """A whole answer."""

    head: Head
    body: bytes

    def json(self) -> Any:
        """Raises :class:`AnswerInvalid`."""
        try:
            return json.loads(self.body)
        except ValueError:
            said = self.body[:200].decode("utf-8", "replace")
            raise AnswerInvalid(f"the answer is no JSON, it begins with {said!r}") from None


def _rest_of_body() -> Steps[bytes]:
    body = bytearray()
    while True:
        part = yield More()
        if isinstance(part, Broken):
            raise break_error(part)
        if not part:
            return bytes(body)
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise AnswerInvalid(f"the answer has more than {ANSWER_BYTES_MAX:,} bytes")


def break_error(broken: Broken) -> WaypostError:
    """The error that a broken connection is."""
    if not broken.was_sent:
        return Unreachable(f"nothing was sent: {broken.message}")
    kind = TimedOut if broken.is_timeout else ConnectionBroken
    return kind(f"sent, but the answer did not come: {broken.message}")


def stream_error(broken: Broken) -> StreamBroken:
    """The error that a stream ends with, where its end did not come."""
    return StreamBroken(f"the stream broke off: {broken.message}")


class operation(Generic[P, T]):  # noqa: N801  # Used as a decorator, like property.
    """A method whose generator returns its value."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        functools.update_wrapper(self, steps)  # type: ignore[arg-type]

    @overload
    def __get__(self, resource: None, owner: type) -> operation[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, resource: Resource[Awaiting], owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Any, owner: type) -> Any:
        if resource is None:
            return self

        @functools.wraps(self.steps)
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource._io.run(self.steps(resource, *args, **kwargs))

        return run


class stream(Generic[P, T]):  # noqa: N801
    """A method whose generator emits one item after another."""

    def __init__(self, items: Callable[Concatenate[Any, P], Items[T]]) -> None:
        self.items = items
        functools.update_wrapper(self, items)  # type: ignore[arg-type]

    @overload
    def __get__(self, resource: None, owner: type) -> stream[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, Stream[T]]: ...
    @overload
    def __get__(self, resource: Resource[Awaiting], owner: type) -> Callable[P, AsyncStream[T]]: ...
    def __get__(self, resource: Any, owner: type) -> Any:
        if resource is None:
            return self

        @functools.wraps(self.items)
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource._io.stream(self.items(resource, *args, **kwargs))

        return run


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object. Raises :class:`AnswerInvalid` for anything else."""
    if not isinstance(value, dict):
        raise AnswerInvalid(f"an object was expected, not {str(value)[:200]!r}")
    return value
