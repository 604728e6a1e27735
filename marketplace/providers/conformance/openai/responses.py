"""The check of a server that claims to speak OpenAI's Responses API."""

from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import (
    FAIL,
    Finding,
    Reply,
    Target,
    found,
    unanswered,
)
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.openai.judging import chunks_of
from marketplace.providers.conformance.openai.requests import QUESTION

RESPONSES_PATH = "/v1/responses"
ENDS = frozenset({"response.completed", "response.incomplete"})
TOKENS = 16
"""OpenAI's own servers take no fewer."""


async def check_responses(client: Client, target: Target) -> Finding:
    """As the router asks: nothing is stored, and the stream tells its usage at its end."""
    asked = {"model": target.model, "input": QUESTION, "max_output_tokens": TOKENS}
    reply = await client.stream(RESPONSES_PATH, {**asked, "store": False, "stream": True})
    return unanswered(Check.RESPONSES, reply) or judge_response(reply, TOKENS)


def judge_response(reply: Reply, most: int) -> Finding:
    """The stream of a response: its text, its end, and its usage."""
    if not reply.events:
        kind = reply.headers.get("content-type", "nothing")
        return found(Check.RESPONSES, reply, FAIL, "not_a_stream", type=kind)
    events = chunks_of(reply)
    if not any(event.get("delta") for event in events):
        return found(Check.RESPONSES, reply, FAIL, "no_text")
    ends = [event.get("response") for event in events if event.get("type") in ENDS]
    if not ends or not isinstance(ends[-1], dict):
        return found(Check.RESPONSES, reply, FAIL, "no_response")
    told = ends[-1].get("usage")
    usage = told if isinstance(told, dict) else {}
    tokens = usage.get("output_tokens")
    if not isinstance(tokens, int) or not isinstance(usage.get("input_tokens"), int):
        return found(Check.RESPONSES, reply, FAIL, "no_usage")
    if tokens > most:
        return found(Check.RESPONSES, reply, FAIL, "too_many_tokens", tokens=tokens, most=most)
    return found(Check.RESPONSES, reply)
