"""Requests that every task is checked with."""

from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import Finding, Target, found, unanswered
from marketplace.providers.conformance.http import Client
from marketplace.providers.conformance.openai.judging import judge_refusal

QUESTION = "Write one sentence about the sea."
TOKENS_FEW = 4


async def without_input(client: Client, path: str, target: Target) -> Finding:
    """The finding about a request that lacks its input."""
    reply = await client.post(path, {"model": target.model, "max_tokens": TOKENS_FEW})
    if reply.error:
        return unanswered(Check.BAD_REQUEST, reply) or found(Check.BAD_REQUEST, reply)
    return judge_refusal(Check.BAD_REQUEST, reply)
