"""A line with a chat model and a moderation model, which flags what has the word "bad"."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import (
    Deployment,
    Endpoint,
    Guard,
    Model,
    Organisation,
    Policy,
    Pool,
    Worker,
)
from router.domain.pricing import Price, Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from tests.unit.router.pipeline.line import KEY, USED, snapshot

GUARD = "a/guard"
INPUT_NANO = 1_000
HEADERS = {"authorization": f"Bearer {KEY}"}
encode = msgspec.json.Encoder().encode


def catalog(guard: Guard | None, *, key_guard: Guard | None = None, **of_key: Any) -> Snapshot:
    made = snapshot(workers=1)
    (key,) = made.keys
    return structs.replace(
        made,
        models=(*made.models, Model(GUARD, "moderation", "1", 0)),
        pools=(*made.pools, Pool("judges", "cpu")),
        workers=(*made.workers, Worker("judge-0", "judges", "http://x", "openai", 4)),
        deployments=(
            *made.deployments,
            Deployment(9, GUARD, "north", 21, "judges", "g", Price(9, row_nano=INPUT_NANO)),
        ),
        # Every router places chats itself: only the judgement may be another's.
        policies=(Policy(1, 1, "a/m", shared=True),),
        organisations=(Organisation(1, guard=guard),),
        keys=(structs.replace(key, guard=key_guard, **of_key),),
    )


class Judge:
    """An upstream for both models. ``says`` is the chat's answer; ``judged`` what was judged."""

    def __init__(self, says: str = "a good answer") -> None:
        self.says = says
        self.judged: list[list[str]] = []
        self.calls: list[InferenceRequest] = []
        self.chats = 0
        self.fails = False
        self.waits: asyncio.Event | None = None
        self.breaks_off = False

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        if request.kind is not Kind.MODERATION:
            self.chats += 1
            choice = {"message": {"content": self.says}, "finish_reason": "stop"}
            body = encode({"model": request.model, "choices": [choice]})
            return Answer(body, "application/json", USED, "stop")
        texts = msgspec.json.decode(request.fields["input"])
        self.calls.append(request)
        self.judged.append(texts)
        if self.waits is not None:
            await self.waits.wait()
        if self.fails:
            raise UpstreamFailed("http_500")
        results = [self._result(text) for text in texts]
        used = Usage(rows=request.bound.rows)
        return Answer(encode({"results": results}), "application/json", used)

    def _result(self, text: str) -> dict[str, Any]:
        is_bad = "bad" in text
        return {
            "flagged": is_bad,
            "categories": {"hate": is_bad, "evil\n": is_bad, "spam": False},
            "category_scores": {"hate": float(is_bad), "evil\n": 0.0, "spam": 0.0},
        }

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        self.chats += 1
        for piece in (self.says[:6], self.says[6:]):
            chunk = encode({"choices": [{"index": 0, "delta": {"content": piece}}]})
            yield StreamPart(b"data: %b\n\n" % chunk, 1)
        if self.breaks_off:
            raise UpstreamFailed("truncated")
        yield StreamPart(b"", 0, USED, "stop", done=True)

    async def probe(self, endpoint: Endpoint) -> None:
        """Always well."""
