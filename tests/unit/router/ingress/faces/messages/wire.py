"""Requests, chunks and events of the Messages API."""

import json
from typing import Any

import msgspec

from router.ingress.faces.messages.request import chat_body

ID = "0192-ab"


def chat(**fields: Any) -> dict[str, Any]:
    body = {"model": "a/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return json.loads(chat_body(msgspec.json.encode(body | fields)))


def events(told: bytes) -> list[dict[str, Any]]:
    found = [block.split(b"\n") for block in told.split(b"\n\n") if block]
    for name, data in found:
        assert name == b"event: " + json.loads(data[6:])["type"].encode()
    return [json.loads(data[6:]) for _, data in found]


def chunk(**fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"model": "a/m", **fields}) + b"\n\n"


def delta(finish_reason: str | None = None, **said: Any) -> bytes:
    return chunk(choices=[{"index": 0, "delta": said, "finish_reason": finish_reason}])
