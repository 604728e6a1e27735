"""What answers of an OpenAI-compatible server are worth: no request is made here."""

import json
from typing import Any

from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import FAIL, WARN, Finding, Reply, found, unanswered

SLACK_TOKENS = 2
"""What begins and ends an answer is counted by some engines."""


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


def judge_refusal(check: Check, reply: Reply) -> Finding:
    """A 4xx whose body says what was wrong."""
    if reply.status < 400:
        return found(check, reply, FAIL, "bad_accepted", status=reply.status)
    if reply.status >= 500:
        return found(check, reply, WARN, "bad_crash", status=reply.status)
    if not reply.body().get("error"):
        return found(check, reply, WARN, "error_shape")
    return found(check, reply)
