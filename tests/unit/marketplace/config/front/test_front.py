"""Whole bodies reach the threads, within bounds; slow clients hold none of them."""

import asyncio
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from marketplace.config.front.front import Environ, Front, Uploads
from marketplace.shared.held import ENVIRON, Step
from tests.patience import PATIENCE_S


class Client:
    """One request: what is sent of its body, and what came back."""

    def __init__(
        self,
        path: str = "/",
        *,
        chunks: Iterable[bytes] = (b"",),
        ends: bool = True,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "path": path,
            "query_string": b"",
            "headers": list(headers),
            "server": ("127.0.0.1", 8000),
            "client": ("192.0.2.7", 1234),
        }
        sent = list(chunks)
        self._messages = [
            {"type": "http.request", "body": chunk, "more_body": not ends or n < len(sent) - 1}
            for n, chunk in enumerate(sent)
        ]
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.read = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        self.read.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]


def echo(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answer what was sent and the environment that names it."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ["CONTENT_LENGTH"]), ("Set-Cookie", " a=b")])
    names = ("PATH_INFO", "REMOTE_ADDR", "HTTP_COOKIE", "HTTP_X_TWICE", "HTTP_X_LOW")
    received = {name: environ.get(name) for name in names}
    return [json.dumps(received).encode(), b"\n", body]


def front(**bounds: Any) -> Front:
    usual = {"threads": 1, "body_bytes_max": 100, "bodies_bytes_max": 150, "body_s": PATIENCE_S}
    return Front(echo, **(usual | bounds))


async def ask(served: Front, client: Client) -> Client:
    async with asyncio.timeout(PATIENCE_S):
        await served(client.scope, client.receive, client.send)
    return client


async def test_a_request_is_answered_while_more_bodies_than_threads_are_on_their_way() -> None:
    served = front()
    slow = [Client(chunks=(b"a",), ends=False) for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(ask(served, client)) for client in slow]
        for client in slow:
            await client.read.wait()
        assert (await ask(served, Client(chunks=(b"b",)))).status == 200
        for task in waiting:
            task.cancel()


async def test_a_body_that_does_not_come_is_408() -> None:
    late = await ask(front(body_s=0.01), Client(chunks=(b"a",), ends=False))
    assert late.status == 408
    assert late.headers["connection"] == "close"


async def test_a_body_over_the_bound_is_413_whether_it_says_so_or_not() -> None:
    served = front()
    said = Client("/api/v1/keys", headers=[(b"content-length", b"101")], ends=False)
    unsaid = Client("/api/v1/keys", chunks=(b"a" * 100, b"a"), ends=False)
    for client in (await ask(served, said), await ask(served, unsaid)):
        assert client.status == 413
        assert client.headers["content-type"] == "application/problem+json"
        assert json.loads(client.body)["status"] == 413
    page = Client(chunks=(b"a" * 101,))
    assert (await ask(served, page)).headers["content-type"] == "text/plain; charset=utf-8"
    assert (await ask(served, Client(chunks=(b"a" * 100,)))).status == 200


async def test_bodies_are_bounded_together_and_leave_room_when_they_end() -> None:
    served = front()
    slow = Client(chunks=(b"a" * 100,), ends=False)
    waiting = asyncio.ensure_future(ask(served, slow))
    await slow.read.wait()
    refused = await ask(served, Client("/api/", chunks=(b"a" * 51,)))
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (await ask(served, Client(chunks=(b"a" * 50,)))).status == 200
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (await ask(served, Client(chunks=(b"a" * 51,)))).status == 200


async def test_the_application_gets_what_wsgi_promises() -> None:
    headers = [
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-twice", b"1"),
        (b"x-twice", b"2"),
        # As a proxy's own header would be called.
        (b"x_low", b"forged"),
        (b"content-length", b"999"),
    ]
    served = front(body_bytes_max=1000)
    asked = await ask(served, Client("/é", chunks=(b"one", b"two"), headers=headers))
    received, body = asked.body.split(b"\n")
    assert body == b"onetwo"
    assert asked.headers == {"x-length": "6", "set-cookie": "a=b"}
    assert json.loads(received) == {
        "PATH_INFO": "/é".encode().decode("latin-1"),
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_TWICE": "1,2",
        "HTTP_X_LOW": None,
    }


async def test_a_client_that_left_gets_no_answer() -> None:
    gone = Client()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await front()(gone.scope, receive, gone.send)
    assert gone.status == 0


async def test_a_page_that_waited_too_long_for_something_is_no_late_body() -> None:
    def slow(environ: Environ, start_response: Any) -> Iterable[bytes]:
        raise TimeoutError("the database")

    served = Front(slow, threads=1, body_bytes_max=100, bodies_bytes_max=150, body_s=PATIENCE_S)
    client = Client()
    with pytest.raises(TimeoutError, match="the database"):
        await served(client.scope, client.receive, client.send)
    assert client.status == 0


UPLOADS = Uploads(
    frozenset({"/v1/files"}),
    body_bytes_max=1_000,
    body_s=PATIENCE_S,
    bytes_per_s_min=1.0,
    at_once=1,
)


async def test_an_upload_may_be_longer_than_a_body_and_takes_no_memory_of_theirs() -> None:
    served = front(uploads=UPLOADS)
    whole = Client("/v1/files", chunks=(b"a" * 400, b"b" * 600))
    assert (await ask(served, whole)).body.endswith(b"a" * 400 + b"b" * 600)
    too_long = Client("/v1/files", chunks=(b"a" * 1_000, b"a"))
    assert (await ask(served, too_long)).status == 413
    assert (await ask(served, Client("/v1/other", chunks=(b"a" * 101,)))).status == 413


async def test_a_body_that_is_not_admitted_has_the_usual_bounds() -> None:
    served = front(uploads=replace(UPLOADS, at_once=0, admits=lambda scope: False))
    assert (await ask(served, Client("/v1/files", chunks=(b"a" * 100,)))).status == 200
    assert (await ask(served, Client("/v1/files", chunks=(b"a" * 101,)))).status == 413


class SlowClient(Client):
    """Its second piece comes after ``pause_s``."""

    pause_s = 0.1

    async def receive(self) -> dict[str, Any]:
        if len(self._messages) == 1:
            await asyncio.sleep(self.pause_s)
        return await super().receive()


@pytest.mark.parametrize(("earned", "status"), [(600, 200), (0, 408)])
async def test_what_came_of_an_upload_earns_it_time(earned: int, status: int) -> None:
    served = front(uploads=replace(UPLOADS, body_s=0.02, bytes_per_s_min=10.0))
    slow = SlowClient("/v1/files", chunks=(b"a" * earned, b"b"))
    assert (await ask(served, slow)).status == status


async def test_uploads_beyond_those_taken_at_once_are_503() -> None:
    served = front(uploads=UPLOADS)
    slow = Client("/v1/files", chunks=(b"a",), ends=False)
    waiting = asyncio.ensure_future(ask(served, slow))
    await slow.read.wait()
    refused = await ask(served, Client("/v1/files", chunks=(b"a",)))
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (await ask(served, Client("/v1/files", chunks=(b"a",)))).status == 200


# --- answers that are held open -------------------------------------------------------------------


class Changes:
    """Tells those who wait, when a test says so."""

    def __init__(self) -> None:
        self.events: list[asyncio.Event] = []

    @contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self.events.append(event)
        try:
            yield event
        finally:
            self.events.remove(event)


@dataclass
class Rest:
    """What a held answer goes on with. ``steps`` are given one after the other."""

    steps: list[Step]
    seconds: float = PATIENCE_S
    streams: bool = True
    topic: str = "tea"
    looked: int = 0
    late: bool = False
    looks: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def step(self, *, is_late: bool) -> Step:
        self.looked += 1
        self.late = is_late
        self.looks.release()
        return self.steps.pop(0)


def holding(rest: Rest, changes: Changes) -> Front:
    def begin(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ[ENVIRON] = rest
        start_response("200 OK", [("Content-Length", "5")])
        return [b"begun"]

    return Front(
        begin,
        threads=1,
        body_bytes_max=100,
        bodies_bytes_max=100,
        body_s=PATIENCE_S,
        listener=changes,
    )


async def until_looked(rest: Rest) -> None:
    assert await asyncio.to_thread(rest.looks.acquire, timeout=PATIENCE_S)


async def test_a_held_answer_goes_on_whenever_it_changes_and_holds_no_thread() -> None:
    changes, rest = Changes(), Rest([Step(b""), Step(b" more"), Step(b" end", is_over=True)])
    served = holding(rest, changes)
    client = Client(chunks=(b"a" * 100,))
    asked = asyncio.ensure_future(ask(served, client))
    await until_looked(rest)
    # Neither its thread nor the memory of its body is taken.
    other = Client(chunks=(b"a" * 100,))
    quick = Rest([Step(b"", is_over=True)])
    served._application = holding(quick, changes)._application
    assert (await ask(served, other)).body == b"begun"
    changes.events[0].set()
    await until_looked(rest)
    changes.events[0].set()
    await asked
    assert client.body == b"begun more end"
    assert "content-length" not in client.headers
    assert changes.events == []


async def test_an_answer_that_waits_for_its_end_is_only_that() -> None:
    rest = Rest([Step(b"the end", is_over=True)], streams=False)
    assert (await ask(holding(rest, Changes()), Client())).body == b"the end"


async def test_a_held_answer_ends_in_time_whatever_happens() -> None:
    rest = Rest([Step(b""), Step(b" so far")], seconds=0.01)
    assert (await ask(holding(rest, Changes()), Client())).body == b"begun so far"
    assert rest.late


async def test_nothing_is_looked_up_for_a_client_that_left() -> None:
    changes, rest = Changes(), Rest([Step(b"")])
    client, left = Client(), asyncio.Event()
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    served = holding(rest, changes)
    asked = asyncio.ensure_future(served(client.scope, receive, client.send))
    await until_looked(rest)
    left.set()
    async with asyncio.timeout(PATIENCE_S):
        await asked
    assert (rest.looked, changes.events, served._held) == (1, [], 0)


async def test_beyond_the_bound_answers_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.config.front.front.HELD_MAX", 0)
    rest = Rest([])
    asked = await ask(holding(rest, Changes()), Client())
    assert (asked.body, asked.headers["content-length"], rest.looked) == (b"begun", "5", 0)
