"""Checks of tasks that are answered whole: embeddings, rankings, images, sound and the like."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from marketplace.benchmarks.loadgen.requests import silence
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
from marketplace.providers.conformance.openai.judging import judge_usage
from marketplace.providers.conformance.openai.requests import QUESTION, without_input
from router.contracts.bodies.form import Part, form_of

TWO_DOCUMENTS = ("The sea is salt water.", "A loaf of bread.")


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A task: where it is asked, what with, what a right answer has, and the code without that."""

    path: str
    fields: Mapping[str, Any]
    is_right: Callable[[Reply], bool]
    code: str
    counts_tokens: bool = False
    is_form: bool = False
    """The fields go with a second of silence in a form."""


async def check_whole_answer(
    client: Client, target: Target, asked: WholeAnswer
) -> AsyncIterator[Finding]:
    """The plain call, its usage where tokens are counted, and a request without its input."""
    fields = {"model": target.model, **asked.fields}
    if asked.is_form:
        kind, form = form_of(fields, Part("file", silence(1), "silence.wav", "audio/wav"))
        sent = f"POST {asked.path}: a form with a second of silence"
        reply = await client.post(asked.path, form, {"content-type": kind}, sent)
    else:
        reply = await client.post(asked.path, fields)
    wrong = unanswered(Check.PLAIN_CALL, reply)
    if wrong:
        yield wrong
        return
    yield (
        found(Check.PLAIN_CALL, reply)
        if asked.is_right(reply)
        else found(Check.PLAIN_CALL, reply, FAIL, asked.code, type=_content_type(reply))
    )
    if asked.counts_tokens:
        yield judge_usage(reply, completes=False)
    yield await without_input(client, asked.path, target)


def _rows(reply: Reply, field: str) -> list[dict[str, Any]]:
    rows = reply.body().get(field)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _content_type(reply: Reply) -> str:
    return reply.headers.get("content-type") or "–"


def _has_vector(reply: Reply) -> bool:
    vector = next((row.get("embedding") for row in _rows(reply, "data")), None)
    return isinstance(vector, list) and bool(vector) and _are_numbers(vector)


def _ranks_both(reply: Reply) -> bool:
    rows = _rows(reply, "results")
    scores = [row.get("relevance_score", row.get("score")) for row in rows]
    places = sorted(str(row.get("index")) for row in rows)
    return places == ["0", "1"] and _are_numbers(scores)


def _judges_both(reply: Reply) -> bool:
    flags = [row.get("flagged") for row in _rows(reply, "results")]
    return len(flags) == 2 and all(isinstance(flag, bool) for flag in flags)


def _has_image(reply: Reply) -> bool:
    return any(row.get("b64_json") or row.get("url") for row in _rows(reply, "data")[:1])


def _is_sound(reply: Reply) -> bool:
    return _content_type(reply).startswith("audio/")


def _has_text(reply: Reply) -> bool:
    return isinstance(reply.body().get("text"), str)


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and -inf < value < inf for value in values)


WHOLE_ANSWERS = {
    "embeddings": WholeAnswer(
        "/v1/embeddings", {"input": QUESTION}, _has_vector, "no_vector", counts_tokens=True
    ),
    "rerank": WholeAnswer(
        "/v1/rerank", {"query": QUESTION, "documents": TWO_DOCUMENTS}, _ranks_both, "no_ranking"
    ),
    "moderation": WholeAnswer(
        "/v1/moderations", {"input": (QUESTION, QUESTION)}, _judges_both, "no_judgement"
    ),
    "image": WholeAnswer(
        "/v1/images/generations", {"prompt": QUESTION, "n": 1}, _has_image, "no_image"
    ),
    "speech": WholeAnswer(
        "/v1/audio/speech", {"input": QUESTION, "voice": "alloy"}, _is_sound, "no_sound"
    ),
    "transcription": WholeAnswer(
        "/v1/audio/transcriptions", {}, _has_text, "no_text", is_form=True
    ),
}
"""By task."""
