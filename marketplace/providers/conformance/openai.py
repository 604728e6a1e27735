"""Checks of an OpenAI-compatible server: chat, embeddings and what else has a face."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from marketplace.benchmarks.loadgen.requests import silence
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
from router.contracts.bodies.form import Part, form_of

CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
RERANK, MODERATIONS = "/v1/rerank", "/v1/moderations"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
IMAGES, SPEECH = "/v1/images/generations", "/v1/audio/speech"
QUESTION = "Write one sentence about the sea."
TOKENS_ASKED = 24
SLACK_TOKENS = 2
"""What begins and ends an answer is counted by some engines."""
TOKENS_FEW = 4
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


async def check_openai(client: Client, target: Target) -> AsyncIterator[Finding]:
    """Everything about one endpoint, in order; ends early where nothing further can be asked."""
    models = await client.get(MODELS)
    if models.error:
        yield unanswered(Check.REACHABLE, models) or found(Check.REACHABLE, models)
        return
    yield found(Check.REACHABLE, models)
    yield await _health(client, models)
    yield _listed(models, target.model)
    checks = {
        "chat": _chat,
        "embeddings": _embeddings,
        "rerank": _rerank,
        "moderation": _moderation,
        "image": _image,
        "speech": _speech,
        "transcription": _transcription,
    }
    async for finding in checks[target.task](client, target):
        yield finding


async def _health(client: Client, models: Reply) -> Finding:
    """As the platform's prober asks: /health, and /v1/models where there is none."""
    health = await client.get("/health")
    if health.ok:
        return found(Check.HEALTH, health)
    if health.status == 404 and models.ok:
        return found(Check.HEALTH, models)
    if health.error:
        return unanswered(Check.HEALTH, health) or found(Check.HEALTH, health)
    return found(Check.HEALTH, health, FAIL, "unhealthy", status=health.status, path="/health")


def _listed(models: Reply, model: str) -> Finding:
    rows = models.body().get("data")
    if not models.ok or not isinstance(rows, list):
        return found(Check.MODEL_LISTED, models, WARN, "no_model_list", path=MODELS)
    known = [str(row.get("id")) for row in rows if isinstance(row, dict)]
    if model in known:
        return found(Check.MODEL_LISTED, models)
    shown = ", ".join(known[:5]) or "–"
    return found(Check.MODEL_LISTED, models, FAIL, "model_missing", known=shown, model=model)


async def _embeddings(client: Client, target: Target) -> AsyncIterator[Finding]:
    reply = await client.post(EMBEDDINGS, {"model": target.model, "input": QUESTION})
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    rows = reply.body().get("data")
    vector = rows[0].get("embedding") if isinstance(rows, list) and rows else None
    is_vector = isinstance(vector, list) and bool(vector) and _are_numbers(vector)
    yield (
        found(Check.PLAIN_CALL, reply)
        if is_vector
        else found(Check.PLAIN_CALL, reply, FAIL, "no_vector")
    )
    yield judge_usage(reply, completes=False)
    yield await _bad_request(client, EMBEDDINGS, target)


async def _rerank(client: Client, target: Target) -> AsyncIterator[Finding]:
    documents = ["The sea is salt water.", "A loaf of bread."]
    asked = {"model": target.model, "query": QUESTION, "documents": documents}
    reply = await client.post(RERANK, asked)
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    yield (
        found(Check.PLAIN_CALL, reply)
        if _is_ranking(reply.body().get("results"), len(documents))
        else found(Check.PLAIN_CALL, reply, FAIL, "no_ranking")
    )
    yield await _bad_request(client, RERANK, target)


async def _moderation(client: Client, target: Target) -> AsyncIterator[Finding]:
    reply = await client.post(MODERATIONS, {"model": target.model, "input": [QUESTION] * 2})
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    results = reply.body().get("results")
    rows = results if isinstance(results, list) else []
    flags = [row.get("flagged") for row in rows if isinstance(row, dict)]
    yield (
        found(Check.PLAIN_CALL, reply)
        if len(flags) == 2 and all(isinstance(flag, bool) for flag in flags)
        else found(Check.PLAIN_CALL, reply, FAIL, "no_judgement")
    )
    yield await _bad_request(client, MODERATIONS, target)


async def _image(client: Client, target: Target) -> AsyncIterator[Finding]:
    reply = await client.post(IMAGES, {"model": target.model, "prompt": QUESTION, "n": 1})
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    rows = reply.body().get("data")
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    yield (
        found(Check.PLAIN_CALL, reply)
        if first.get("b64_json") or first.get("url")
        else found(Check.PLAIN_CALL, reply, FAIL, "no_image")
    )
    yield await _bad_request(client, IMAGES, target)


async def _speech(client: Client, target: Target) -> AsyncIterator[Finding]:
    asked = {"model": target.model, "input": QUESTION, "voice": "alloy"}
    reply = await client.post(SPEECH, asked)
    kind = reply.headers.get("content-type", "")
    if reply.ok and kind.startswith("audio/"):
        yield found(Check.PLAIN_CALL, reply)
    elif wrong := unanswered(Check.PLAIN_CALL, reply):
        yield wrong
        return
    else:
        yield found(Check.PLAIN_CALL, reply, FAIL, "no_sound", type=kind or "–")
    yield await _bad_request(client, SPEECH, target)


async def _transcription(client: Client, target: Target) -> AsyncIterator[Finding]:
    file = Part("file", silence(1), "silence.wav", "audio/wav")
    kind, form = form_of({"model": target.model}, file)
    sent = f"POST {TRANSCRIPTIONS}: a form with a second of silence"
    reply = await client.post(TRANSCRIPTIONS, form, {"content-type": kind}, sent)
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    yield (
        found(Check.PLAIN_CALL, reply)
        if isinstance(reply.body().get("text"), str)
        else found(Check.PLAIN_CALL, reply, FAIL, "no_text")
    )
    yield await _bad_request(client, TRANSCRIPTIONS, target)


def _is_ranking(results: Any, documents: int) -> bool:
    rows = results if isinstance(results, list) else []
    known = [row for row in rows if isinstance(row, dict)]
    scores = [row.get("relevance_score", row.get("score")) for row in known]
    places = sorted(str(row.get("index")) for row in known)
    return places == [str(place) for place in range(documents)] and _are_numbers(scores)


async def _chat(client: Client, target: Target) -> AsyncIterator[Finding]:
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
    yield await _bad_request(client, CHAT, target)
    for check, name, ask in (
        (Check.STOP, "stop", _stop),
        (Check.SEED, "seed", _seed),
        (Check.JSON, "response_format", _json),
        (Check.TOOLS, "tools", _tools),
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


def choice_of(reply: Reply) -> dict[str, Any]:
    """The first choice of a whole answer; {} without one."""
    choices = reply.body().get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def text_of(reply: Reply) -> str:
    """The text of a whole answer; "" without one. Reasoning counts: it is billed."""
    message = choice_of(reply).get("message")
    if not isinstance(message, dict):
        return ""
    return str(message.get("content") or message.get("reasoning_content") or "")


def _said_bytes(reply: Reply) -> int:
    """Of all that a whole answer says: text, and thoughts under either of their names."""
    message = choice_of(reply).get("message")
    if not isinstance(message, dict):
        return 0
    parts = (message.get(field) for field in ("content", "reasoning_content", "reasoning"))
    return sum(len(part.encode(errors="replace")) for part in parts if isinstance(part, str))


def _counts(usage: Any) -> tuple[Any, Any, Any]:
    if not isinstance(usage, dict):
        return (None, None, None)
    return tuple(usage.get(f"{field}_tokens") for field in ("prompt", "completion", "total"))  # type: ignore[return-value]


def judge_usage(reply: Reply, *, completes: bool = True) -> Finding:
    """Counts are whole numbers, something was counted, and the parts make the total.

    No token is less than a byte of what was sent: what is beyond is not billed.
    """
    usage = reply.body().get("usage")
    if not isinstance(usage, dict):
        return found(Check.USAGE, reply, FAIL, "no_usage")
    prompt, completion, total = _counts(usage)
    completion = completion if completes else completion or 0
    right = (
        all(isinstance(count, int) and count >= 0 for count in (prompt, completion, total))
        and prompt > 0
        and (completion > 0 or not completes)
        and prompt + completion == total
    )
    sent = _said_bytes(reply)
    if right and completes and sent and completion > sent + SLACK_TOKENS:
        return found(Check.USAGE, reply, WARN, "overcounted", tokens=completion, most=sent)
    if right:
        return found(Check.USAGE, reply)
    counts = {"prompt": prompt, "completion": completion, "total": total}
    return found(Check.USAGE, reply, FAIL, "usage_wrong", **counts)


def judge_max_tokens(reply: Reply, most: int) -> Finding:
    """No more tokens than requested, and the right finish reason."""
    wrong = unanswered(Check.MAX_TOKENS, reply)
    if wrong:
        return wrong
    tokens = _counts(reply.body().get("usage"))[1]
    if not isinstance(tokens, int):
        return found(Check.MAX_TOKENS, reply, FAIL, "no_usage")
    # The words catch a worker that reports few tokens and sends many: each is at least a quarter
    # token.
    words = len(text_of(reply).split())
    if tokens > most or words > 4 * most:
        return found(
            Check.MAX_TOKENS, reply, FAIL, "too_many_tokens", tokens=max(tokens, words), most=most
        )
    reason = choice_of(reply).get("finish_reason")
    if tokens == most and reason not in {"length", "stop"}:
        return found(Check.MAX_TOKENS, reply, WARN, "no_finish_reason", reason=str(reason))
    return found(Check.MAX_TOKENS, reply)


def judge_stream(reply: Reply) -> list[Finding]:
    """The stream's end, its pieces, and its usage."""
    wrong = unanswered(Check.STREAM, reply)
    if wrong:
        return [wrong]
    if not reply.events:
        kind = reply.headers.get("content-type", "nothing")
        return [found(Check.STREAM, reply, FAIL, "not_a_stream", type=kind)]
    chunks = chunks_of(reply)
    pieces = sum(bool(_delta(chunk)) for chunk in chunks)
    if reply.events[-1] != "[DONE]":
        stream = found(Check.STREAM, reply, FAIL, "no_done")
    elif not pieces:
        stream = found(Check.STREAM, reply, FAIL, "no_text")
    elif pieces == 1:
        stream = found(Check.STREAM, reply, WARN, "one_piece")
    else:
        stream = found(Check.STREAM, reply)
    usages = [chunk["usage"] for chunk in chunks if isinstance(chunk.get("usage"), dict)]
    if not usages:
        return [stream, found(Check.STREAM_USAGE, reply, FAIL, "no_stream_usage")]
    prompt, completion, total = _counts(usages[-1])
    if not all(isinstance(count, int) for count in (prompt, completion, total)) or (
        prompt + completion != total
    ):
        counts = {"prompt": prompt, "completion": completion, "total": total}
        return [stream, found(Check.STREAM_USAGE, reply, FAIL, "usage_wrong", **counts)]
    return [stream, found(Check.STREAM_USAGE, reply)]


def chunks_of(reply: Reply) -> list[dict[str, Any]]:
    """The JSON objects of a stream."""
    chunks = []
    for event in reply.events:
        try:
            chunk = json.loads(event)
        except (ValueError, RecursionError):
            continue
        if isinstance(chunk, dict):
            chunks.append(chunk)
    return chunks


def _delta(chunk: dict[str, Any]) -> str:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    delta = first.get("delta") if isinstance(first, dict) else None
    if not isinstance(delta, dict):
        return ""
    return str(delta.get("content") or delta.get("reasoning_content") or "")


async def _bad_request(client: Client, path: str, target: Target) -> Finding:
    """A request without its input."""
    reply = await client.post(path, {"model": target.model, "max_tokens": TOKENS_FEW})
    if reply.error:
        return unanswered(Check.BAD_REQUEST, reply) or found(Check.BAD_REQUEST, reply)
    return judge_refusal(Check.BAD_REQUEST, reply)


def judge_refusal(check: Check, reply: Reply) -> Finding:
    """A 4xx whose body says what was wrong."""
    if reply.status < 400:
        return found(check, reply, FAIL, "bad_accepted", status=reply.status)
    if reply.status >= 500:
        return found(check, reply, WARN, "bad_crash", status=reply.status)
    if not reply.body().get("error"):
        return found(check, reply, WARN, "error_shape")
    return found(check, reply)


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


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
