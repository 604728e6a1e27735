"""Batches of a shop, and a router that answers as a test says."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from django.conf import settings
from django.core.files.base import ContentFile
from django.test import override_settings

from marketplace.accounts.services import api_key_create
from marketplace.batches import tasks  # noqa: F401 # the kind of job is known from there
from marketplace.batches.files.services import file_upload, files_storage
from marketplace.batches.models import Batch, File
from marketplace.batches.services import batch_create
from marketplace.inference.callers import Caller
from tests.integration.marketplace.providers.servers import serving
from tests.integration.marketplace.shop import Shop

CHAT = "/v1/chat/completions"
Says = Callable[[str], tuple[int, dict[str, Any]]]


class FakeRouter:
    """Answers a call with what it says to the line; counts those that it answered with 200.

    The same key again has the answer that was given, as at the real one.
    """

    def __init__(self, says: Says) -> None:
        self.says = says
        self.ran: Counter[str] = Counter()
        self.kept: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self.call)
        return app

    async def call(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        asked = await request.json()
        with self.lock:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            if key in self.kept:
                return web.json_response(self.kept[key])
            status, body = self.says(asked["messages"][0]["content"])
            if status == 200:
                self.ran[key] += 1
                self.kept[key] = body
        return web.json_response(body, status=status, headers={"x-request-id": f"r-{key}"})


def hello(line: str) -> tuple[int, dict[str, Any]]:
    return 200, {"choices": [{"message": {"content": f"hello {line}"}}]}


@contextmanager
def files_in_a_folder() -> Iterator[Path]:
    """Files are kept in a folder that goes."""
    with TemporaryDirectory() as folder:
        files = {**settings.STORAGES["files"], "OPTIONS": {"location": folder}}
        with override_settings(STORAGES={**settings.STORAGES, "files": files}):
            yield Path(folder)


@contextmanager
def routed(says: Says = hello) -> Iterator[FakeRouter]:
    """The router that batches call."""
    router = FakeRouter(says)
    with serving(router.app) as url, override_settings(WAYPOST_ROUTER_URL=url):
        yield router


def chat_lines(count: int, model: str = "author/slug", **changes: Any) -> bytes:
    """Lines with the custom ids ``line-1``, …, each of which says its number."""
    lines = (
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": CHAT,
            "body": {"model": model, "messages": [{"role": "user", "content": str(number)}]},
            **changes,
        }
        for number in range(1, count + 1)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def caller_of(shop: Shop) -> Caller:
    key = (
        shop.organisation.api_keys.first()
        or api_key_create(organisation=shop.organisation, name="batches", created_by=shop.owner)[0]
    )
    return Caller(shop.organisation.pk, shop.customer_account.pk, key_id=key.pk)


def uploaded(shop: Shop, content: bytes, filename: str = "input.jsonl") -> File:
    return file_upload(
        organisation=shop.organisation,
        content=ContentFile(content),
        filename=filename,
        created_by=shop.owner,
    )


def asked(shop: Shop, content: bytes, **wishes: Any) -> Batch:
    file = uploaded(shop, content)
    return batch_create(
        caller=caller_of(shop),
        input_file_id=file.public_id,
        asked_by=shop.owner,
        **{"endpoint": CHAT, **wishes},
    )


def read(file: File | None) -> list[dict[str, Any]]:
    """The lines of a file."""
    if file is None:
        return []
    with files_storage().open(file.stored_as) as content:
        return [json.loads(line) for line in content.read().splitlines()]
