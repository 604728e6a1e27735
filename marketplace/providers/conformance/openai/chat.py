"""Checks of chat: answer, stream, the parameters that are claimed, and a caller who leaves."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import (
    FAIL,
    PASS,
    SKIP,
    WARN,
    Finding,
    Reply,
    Target,
    found,
    shortened,
    unanswered,
)
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.openai.judging import (
    choice_of,
    judge_max_tokens,
    judge_stream,
    judge_usage,
    text_of,
)
from marketplace.providers.conformance.openai.requests import QUESTION, TOKENS_FEW, without_input
from marketplace.providers.conformance.openai.responses import check_responses
from router.domain.catalog import RESPONSES

CHAT = "/v1/chat/completions"
TOKENS_ASKED = 24
JSON_TOKENS = 200
TOOL_TOKENS = 160
LONG_TOKENS = 512
SLOTS_FILLED_MAX = 16
SEEN_FACTOR = 3.0
"""A call behind abandoned streams that takes so many times as long as alone has waited for them."""
SEEN_SLACK_MS = 500.0
SETTLE_S = 0.3
"""What a server may take to notice that a connection is closed."""
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


async def check_chat(client: Client, target: Target) -> AsyncIterator[Finding]:
    """The plain call, the stream, and each parameter that is claimed."""
    plain = await client.post(CHAT, _body(target, TOKENS_ASKED))
    wrong = unanswered(Check.PLAIN_CALL, plain)
    if wrong:
        yield wrong
        return
    yield (
        found(Check.PLAIN_CALL, plain)
        if text_of(plain)
        else found(Check.PLAIN_CALL, plain, FAIL, "no_text")
    )
    yield judge_usage(plain)
    yield judge_max_tokens(await client.post(CHAT, _body(target, TOKENS_FEW)), TOKENS_FEW)
    streamed = await client.stream(
        CHAT,
        {**_body(target, TOKENS_ASKED), "stream": True, "stream_options": {"include_usage": True}},
    )
    for finding in judge_stream(streamed):
        yield finding
    yield await without_input(client, CHAT, target)
    for check, name, ask in (
        (Check.STOP, "stop", _stop),
        (Check.SEED, "seed", _seed),
        (Check.JSON, "response_format", _json),
        (Check.TOOLS, "tools", _tools),
        (Check.RESPONSES, RESPONSES, check_responses),
    ):
        if name in target.parameters:
            yield await ask(client, target)
        else:
            yield Finding(check, SKIP, "not_claimed")
    yield await _cancel(client, target, streamed)


def _body(target: Target, tokens: int, **fields: Any) -> dict[str, Any]:
    return {
        "model": target.model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": tokens,
        "temperature": 0,
        **fields,
    }


async def _stop(client: Client, target: Target) -> Finding:
    """Ask to stop at a word from the middle of the answer: it must then be missing."""
    whole = await client.post(CHAT, _body(target, TOKENS_ASKED))
    words = text_of(whole).split()
    stop = next((word for word in words[2:] if len(word) > 2 and word not in words[:2]), "")
    if not stop:
        return found(Check.STOP, whole, WARN, "stop_unclear")
    reply = await client.post(CHAT, _body(target, TOKENS_ASKED, stop=[stop]))
    wrong = unanswered(Check.STOP, reply)
    if wrong:
        return wrong
    if stop in text_of(reply):
        return found(Check.STOP, reply, FAIL, "stop_ignored", stop=stop)
    return found(Check.STOP, reply)


async def _seed(client: Client, target: Target) -> Finding:
    fields = {"temperature": 1.0, "seed": 7}
    first = await client.post(CHAT, {**_body(target, TOKENS_ASKED), **fields})
    again = await client.post(CHAT, {**_body(target, TOKENS_ASKED), **fields})
    wrong = unanswered(Check.SEED, first) or unanswered(Check.SEED, again)
    if wrong:
        return wrong
    if text_of(first) != text_of(again):
        return found(Check.SEED, again, WARN, "seed_differs")
    return found(Check.SEED, again)


async def _json(client: Client, target: Target) -> Finding:
    question = 'Answer with a JSON object that has the key "colour" and a short value.'
    reply = await client.post(
        CHAT,
        {
            **_body(target, JSON_TOKENS, response_format={"type": "json_object"}),
            "messages": [{"role": "user", "content": question}],
        },
    )
    wrong = unanswered(Check.JSON, reply)
    if wrong:
        return wrong
    try:
        is_object = isinstance(json.loads(text_of(reply)), dict)
    except (ValueError, RecursionError):
        is_object = False
    if is_object:
        return found(Check.JSON, reply)
    if choice_of(reply).get("finish_reason") == "length" and text_of(reply).lstrip()[:1] == "{":
        return found(Check.JSON, reply, WARN, "json_cut", most=JSON_TOKENS)
    return found(Check.JSON, reply, FAIL, "json_broken")


async def _tools(client: Client, target: Target) -> Finding:
    reply = await client.post(
        CHAT,
        {
            **_body(target, TOOL_TOKENS, tools=[TOOL], tool_choice="required"),
            "messages": [{"role": "user", "content": "What is the weather in Lisbon?"}],
        },
    )
    if reply.error:
        return unanswered(Check.TOOLS, reply) or found(Check.TOOLS, reply)
    if reply.status != 200:
        return found(Check.TOOLS, reply, FAIL, "tools_refused", status=reply.status)
    message = choice_of(reply).get("message")
    if not isinstance(message, dict) or not message.get("tool_calls"):
        return found(Check.TOOLS, reply, WARN, "tools_unused")
    return found(Check.TOOLS, reply)


async def _cancel(client: Client, target: Target, streamed: Reply) -> Finding:
    """Fill every slot with long answers, leave, and check whether the next call must wait."""
    per_token_ms = streamed.took_ms / TOKENS_ASKED
    alone = await client.post(CHAT, _body(target, TOKENS_FEW))
    wrong = unanswered(Check.CANCEL, alone)
    if wrong:
        return wrong
    limit_ms = SEEN_FACTOR * alone.took_ms + SEEN_SLACK_MS
    long_ms = per_token_ms * LONG_TOKENS
    if target.slots > SLOTS_FILLED_MAX or long_ms < 2 * limit_ms:
        return found(Check.CANCEL, alone, SKIP, "cancel_unseen")
    body = _body(target, LONG_TOKENS, stream=True, ignore_eos=True)
    if not await _filled_and_left(client, body, target.slots):
        return found(Check.CANCEL, alone, SKIP, "cancel_unseen")
    await asyncio.sleep(SETTLE_S)
    after = await client.post(CHAT, _body(target, TOKENS_FEW))
    sent = f"{target.slots} × {shortened(body)}"
    if after.error or after.took_ms > limit_ms:
        figures = {
            "streams": target.slots,
            "after": math.ceil(after.took_ms),
            "alone": math.ceil(alone.took_ms),
        }
        return Finding(
            Check.CANCEL, WARN, "cancel_ignored", figures, sent, after.shown, round(after.took_ms)
        )
    return Finding(Check.CANCEL, PASS, "ok", {}, sent, after.shown, round(after.took_ms, 1))


async def _filled_and_left(client: Client, body: dict[str, Any], slots: int) -> bool:
    """Whether that many streams had started before the caller left."""
    try:
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(client.left_after_first(CHAT, body))
                for _slot in range(slots)
            ]
            return all(response.status_code == 200 for response in opened)
    except (httpx.HTTPError, OSError):
        return False
