"""Has moderation models judge calls whose key or organisation asks for it, and their answers.

A judgement is a call of its own: placed, metered, billed and recorded like any. Of calls that
nobody wants judged nothing is read.
"""

import asyncio
import random
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Protocol

import msgspec
from msgspec import Raw

from router.contracts.bodies.moderation import Judged, decode_moderation
from router.contracts.wire import UNREADABLE
from router.domain.catalog import Guard
from router.domain.errors import (
    CallError,
    ContentFlagged,
    DeadlineExceeded,
    GuardrailFailed,
    WorkerFailed,
)
from router.domain.ids import uuid7
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind, Wishes
from router.pipeline.guarding.said import asked_texts
from router.pipeline.plans.routing_table import Grant
from router.pipeline.settlement.route_report import Headers, Report
from router.pipeline.settlement.trace import Trace

GUARDRAIL = "guardrail"
"""What a judgement's record says that it was asked for."""
JUDGE_S = 10.0
"""The longest that one judgement may take, if the call's own deadline is not earlier."""
GRACE_S = 0.05
"""A judgement ends itself by its deadline; only what does not is cancelled, this much later."""
TEXTS_MAX = 1_000
"""As many as a moderation may have. Further texts are judged as one."""
UNJUDGED = frozenset({Kind.MODERATION, Kind.INFER})
"""Kinds of calls that are judgements themselves, or have no texts."""
GENERATED = frozenset({Kind.CHAT, Kind.COMPLETION})
"""Kinds of calls whose answers are judged: those that are text that a model made up."""
CATEGORIES_TOLD = 10
CATEGORY = re.compile(r"[A-Za-z0-9_/ -]{1,40}")
"""A category's name that may be told: it comes from a worker."""

_encode = msgspec.json.Encoder().encode


def judges_answers(grant: Grant, call: InferenceRequest) -> bool:
    """Whether the answer of a call waits for a judgement."""
    return (
        bool(grant.guards)
        and call.kind in GENERATED
        and any(guard.answers for guard in grant.guards)
    )


class Moderator(Protocol):
    """Another router, which owns a moderation model."""

    async def moderated(self, grant: Grant, call: InferenceRequest) -> bytes | None:
        """The answer to a moderation; None if this router must serve it. Raises ``CallError``."""
        ...


class Kept:
    """The :class:`router.pipeline.client.Client` of a judgement."""

    def __init__(self) -> None:
        self.body = b""

    async def answer(self, headers: Headers, body: bytes, report: Report | None) -> None:
        """Keep the answer."""
        self.body = body

    async def start_stream(self, headers: Headers) -> None:
        """Never called."""
        raise NotImplementedError

    async def send(self, chunk: bytes) -> None:
        """Never called."""
        raise NotImplementedError

    async def end_stream(
        self, error: CallError | None = None, report: Report | None = None
    ) -> None:
        """Never called."""
        raise NotImplementedError


class Guarding:
    """Judges by the guards of a grant. ``serve`` runs a call as the gateway runs its client's."""

    def __init__(
        self, serve: Callable[[Grant, InferenceRequest, Kept], Coroutine[None, None, None]]
    ) -> None:
        self._serve = serve
        self._random_bits = random.Random(secrets.randbits(256)).getrandbits
        self.elsewhere: Moderator | None = None
        """Of a router among others: reaches those that own the moderation models."""

    async def judge_call(self, grant: Grant, call: InferenceRequest, trace: Trace) -> None:
        """Judge what a call says. Raises ``ContentFlagged``, ``GuardrailFailed`` or
        ``DeadlineExceeded``.
        """
        if call.kind in UNJUDGED:
            return
        for guard in grant.guards:
            if guard.inputs:
                await self._judge(grant, call, guard, "input", lambda: asked_texts(call), trace)

    async def judge_answer(
        self, grant: Grant, call: InferenceRequest, texts: Callable[[], list[str]], trace: Trace
    ) -> None:
        """Judge what was generated. Raises the same.

        A deadline is about the time until an answer begins, and a stream has begun.
        """
        if call.stream and call.wishes.deadline_ms:
            wishes = msgspec.structs.replace(call.wishes, deadline_ms=0)
            call = msgspec.structs.replace(call, wishes=wishes)
        for guard in grant.guards:
            if guard.answers:
                await self._judge(grant, call, guard, "output", texts, trace)

    async def _judge(
        self,
        grant: Grant,
        call: InferenceRequest,
        guard: Guard,
        side: str,
        said: Callable[[], list[str]],
        trace: Trace,
    ) -> None:
        try:
            texts = list(dict.fromkeys(text for text in said() if text.strip()))
            results = await self._results(grant, call, guard, side, texts) if texts else []
        except CallError as error:
            _check_deadline(call)
            trace.guarded.append(f"{side}=unjudged")
            if guard.passes:
                return
            raise GuardrailFailed(
                f"the guardrail {guard.model!r} could not judge the {side} of this call, and lets "
                f"nothing pass unjudged: {error.message}",
                retry_after_s=error.retry_after_s,
            ) from error
        if not any(result.flagged for result in results):
            trace.guarded.append(f"{side}=passed")
            return
        found = _categories(results)
        trace.guarded.append(f"{side}=flagged:{'+'.join(found)}")
        raise ContentFlagged(
            f"the guardrail {guard.model!r} of your key or organisation flags the {side} of this "
            f"call{': ' if found else ''}{', '.join(found)}"
        )

    async def _results(
        self, grant: Grant, call: InferenceRequest, guard: Guard, side: str, texts: list[str]
    ) -> list[Judged]:
        left_s = _seconds_left(call)
        judgement = self._judgement(call, guard, side, texts, left_s)
        try:
            async with asyncio.timeout(left_s + GRACE_S):
                body = await self._moderated(grant.judging(judgement.why), judgement)
            results = decode_moderation(body).results
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {left_s:.1f} s") from None
        except UNREADABLE as error:
            raise WorkerFailed(f"the answer is no moderation: {error}") from error
        if not results:
            raise WorkerFailed("the answer has no results")
        return results

    async def _moderated(self, grant: Grant, judgement: InferenceRequest) -> bytes:
        if self.elsewhere is not None:
            answer = await self.elsewhere.moderated(grant, judgement)
            if answer is not None:
                return answer
        client = Kept()
        await self._serve(grant, judgement, client)
        return client.body

    def _judgement(
        self, call: InferenceRequest, guard: Guard, side: str, texts: list[str], left_s: float
    ) -> InferenceRequest:
        """The moderation of these texts, for whom and as urgent as the call that has them."""
        if len(texts) > TEXTS_MAX:
            texts = [*texts[: TEXTS_MAX - 1], "\n".join(texts[TEXTS_MAX - 1 :])]
        now_ms = time.time_ns() // 1_000_000
        given = _encode(texts)
        return InferenceRequest(
            id=uuid7(now_ms, self._random_bits(74)),
            kind=Kind.MODERATION,
            model=guard.model,
            bound=Usage(prompt_tokens=len(given), rows=len(texts)),
            arrived_s=time.monotonic(),
            created_at_ms=now_ms,
            traceparent=call.traceparent,
            parent_span_id=call.parent_span_id,
            end_user=call.end_user,
            asked=GUARDRAIL,
            why=f"{side} of {call.id}",
            prompt_bytes=len(given),
            texts=len(texts),
            wishes=Wishes(
                data_collection=call.wishes.data_collection,
                # Not over before its call is, which says that the deadline was missed.
                deadline_ms=max(ceil(left_s * 1e3), 1),
                priority=call.wishes.priority,
            ),
            fields={"model": Raw(_encode(guard.model)), "input": Raw(given)},
        )


def _seconds_left(call: InferenceRequest) -> float:
    deadline_ms = call.wishes.deadline_ms
    if not deadline_ms:
        return JUDGE_S
    _check_deadline(call)
    return min(JUDGE_S, call.arrived_s + deadline_ms / 1e3 - time.monotonic())


def _check_deadline(call: InferenceRequest) -> None:
    deadline_ms = call.wishes.deadline_ms
    if deadline_ms and time.monotonic() >= call.arrived_s + deadline_ms / 1e3:
        raise DeadlineExceeded(
            f"the request's deadline of {deadline_ms} ms passed before it was judged",
            param="deadline_ms",
        )


def _categories(results: list[Judged]) -> list[str]:
    """What is flagged, by names that may be told."""
    found = {name for result in results for name, is_so in result.categories.items() if is_so}
    return [name for name in sorted(found) if CATEGORY.fullmatch(name)][:CATEGORIES_TOLD]
