"""``python -m tests.clients.worker PORT``: a chat worker that does what clients ask of a model.

It calls the first function it is given, once, with arguments that fit its schema; then, or without
functions, it says something, as JSON where that is wanted. It thinks aloud before.
"""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

USAGE = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}
VALUES = {"string": "Rome", "number": 1.5, "integer": 1, "boolean": True, "array": [], "null": None}


def fitting(schema: dict[str, Any]) -> Any:
    """A value that fits a schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type", "object") == "object":
        return {name: fitting(each) for name, each in schema.get("properties", {}).items()}
    return VALUES[schema["type"]]


def pieces(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said, as deltas."""
    last = body["messages"][-1]
    tools = body.get("tools") or []
    thought = [{"reasoning_content": "Let me "}, {"reasoning_content": "think."}]
    if tools and last["role"] != "tool" and body.get("tool_choice") != "none":
        function = tools[0]["function"]
        arguments = json.dumps(fitting(function.get("parameters") or {}))
        called = {"name": function["name"], "arguments": ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": called}
        rest = {"index": 0, "function": {"arguments": arguments}}
        return [*thought, {"tool_calls": [call]}, {"tool_calls": [rest]}]
    wanted = body.get("response_format") or {}
    if "json_schema" in wanted:
        return [{"content": json.dumps(fitting(wanted["json_schema"]["schema"]))}]
    heard = f"It is sunny ({len(body['messages'])} messages)."
    return [*thought, {"content": heard[:6]}, {"content": heard[6:]}]


async def events(body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The chunks of a stream."""
    said = pieces(body)
    finish = "tool_calls" if "tool_calls" in said[-1] else "stop"
    for delta in said:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield b"data: %b\n\n" % json.dumps({"model": "m", "choices": [choice]}).encode()
    choice = {"index": 0, "delta": {}, "finish_reason": finish}
    yield b"data: %b\n\n" % json.dumps({"model": "m", "choices": [choice]}).encode()
    yield b"data: %b\n\n" % json.dumps({"model": "m", "choices": [], "usage": USAGE}).encode()
    yield b"data: [DONE]\n\n"


def message(body: dict[str, Any]) -> dict[str, Any]:
    """The same as one message."""
    whole: dict[str, Any] = {"role": "assistant", "content": None}
    for delta in pieces(body):
        for name in ("content", "reasoning_content"):
            if name in delta:
                whole[name] = (whole.get(name) or "") + delta[name]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                whole.setdefault("tool_calls", []).append(call)
            else:
                whole["tool_calls"][0]["function"]["arguments"] += call["function"]["arguments"]
    return whole


async def chat(request: web.Request) -> web.StreamResponse:
    """``POST /v1/chat/completions``."""
    body = await request.json()
    if not body.get("stream"):
        said = message(body)
        finish = "tool_calls" if "tool_calls" in said else "stop"
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return web.json_response({"model": "m", "choices": [choice], "usage": USAGE})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async for event in events(body):
        await response.write(event)
    return response


async def health(_: web.Request) -> web.Response:
    """``GET /health``."""
    return web.Response()


def main() -> None:
    """Serve until ended."""
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/health", health)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
