"""Calls that are not waited for: of any model, and of pipelines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from waypost.api.models import rows_of
from waypost.api.streaming import StreamParser, streamed
from waypost.errors import AnswerInvalid, StreamBroken, TimedOut
from waypost.events import Event
from waypost.operations import IO, Resource, given, mapping, operation, stream
from waypost.shapes import Prediction, PredictionEvent, Priority, prediction_of
from waypost.wire import Items, Pause, Steps, json_request

HELD_S_MAX = 60
"""As long as the API holds an answer open."""
HELD_S_MIN = 1.0
"""An answer that was not held open for as long is waited for on this side."""
STREAM_QUIET_S = 90.0
RESUMES_MAX = 5
"""How often in turn a stream may break off without an event between."""


class Predictions(Resource[IO]):
    """``client.predictions``."""

    @operation
    def create(
        self,
        model: str,
        input: Any,  # The API's own word.
        *,
        wait_s: int = 0,
        version: str = "",
        priority: Priority | None = None,
        cancel_after: str | None = None,
        webhook: str | None = None,
        webhook_events: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Prediction]:
        """Ask for one. It is made once, however often it is sent: there is always a key for that.

        ``input`` is what the model's own API takes without the model, or a pipeline's input. With
        ``wait_s``, up to 60, the answer comes when it is over, or then as it is.
        ``cancel_after`` is like ``30s`` or ``5m``. Raises :class:`WaypostError`.
        """
        body = {
            "input": input,
            **given(
                model=model or None,
                version=version or None,
                priority=priority,
                webhook=webhook,
                webhook_events_filter=webhook_events and list(webhook_events),
            ),
        }
        headers = {
            "idempotency-key": idempotency_key or str(uuid.uuid4()),
            **_held(wait_s),
            **given(**{"cancel-after": cancel_after}),
        }
        request = json_request("POST", "/v1/predictions", body, headers=headers, is_repeatable=True)
        return prediction_of((yield from self._json(request)))

    @operation
    def get(self, prediction_id: str, *, wait_s: int = 0) -> Steps[Prediction]:
        """One; held open until it is over, for ``wait_s``, up to 60."""
        path = _path(prediction_id)
        return prediction_of(
            (yield from self._json(json_request("GET", path, headers=_held(wait_s))))
        )

    @operation
    def list(self, *, limit: int = 100) -> Steps[Sequence[Prediction]]:
        """The newest, up to ``limit``, without input and output."""
        found: list[Prediction] = []
        params: dict[str, Any] = {"page_size": min(limit, 100)}
        while len(found) < limit:
            request = json_request("GET", "/v1/predictions", params=params)
            page = mapping((yield from self._json(request)))
            found += map(prediction_of, rows_of(page, "results"))
            cursor = parse_qs(urlsplit(str(page.get("next") or "")).query).get("cursor")
            if not cursor:
                break
            params["cursor"] = cursor[0]
        return found[:limit]

    @operation
    def cancel(self, prediction_id: str) -> Steps[Prediction]:
        """End it. Raises :class:`PredictionOver` where it is over."""
        request = json_request("POST", f"{_path(prediction_id)}/cancel", is_repeatable=True)
        return prediction_of((yield from self._json(request)))

    @operation
    def wait(self, prediction_id: str, *, timeout_s: float | None = None) -> Steps[Prediction]:
        """The prediction once it is over. Raises :class:`TimedOut` after ``timeout_s``."""
        begin_s = self._core.clock()
        while True:
            asked_s = self._core.clock()
            left_s = HELD_S_MAX if timeout_s is None else begin_s + timeout_s - asked_s
            held = _held(max(1, min(HELD_S_MAX, int(left_s))))
            request = json_request("GET", _path(prediction_id), headers=held)
            prediction = prediction_of((yield from self._json(request)))
            if prediction.is_over:
                return prediction
            now_s = self._core.clock()
            if timeout_s is not None and now_s - begin_s >= timeout_s:
                raise TimedOut(f"{prediction_id} is {prediction.status} after {timeout_s:g} s")
            if now_s - asked_s < HELD_S_MIN:
                yield Pause(HELD_S_MIN)

    @stream
    def stream(self, prediction_id: str) -> Items[PredictionEvent]:
        """What happens to it, to its end. A connection that breaks is taken up where it was."""
        parser, breaks = _PredictionEvents(), 0
        while not parser.is_over:
            seen = parser.last_id
            try:
                yield from self._events(prediction_id, parser)
            except StreamBroken:
                breaks = breaks + 1 if parser.last_id == seen else 1
                if breaks > RESUMES_MAX:
                    raise
                yield Pause(self._core.retries.pause_s * breaks)

    def _events(self, prediction_id: str, parser: _PredictionEvents) -> Items[PredictionEvent]:
        after = {"last-event-id": parser.last_id} if parser.last_id else {}
        request = json_request(
            "GET", f"{_path(prediction_id)}/stream", headers=after, quiet_s=STREAM_QUIET_S
        )
        yield from streamed(self._open(request), parser)


class _PredictionEvents(StreamParser[PredictionEvent]):
    last_id = ""

    def read(self, event: Event) -> PredictionEvent | None:
        self.last_id = event.id or self.last_id
        self.is_over = event.name == "completed"
        try:
            return PredictionEvent(event.name, json.loads(event.data))
        except ValueError:
            raise AnswerInvalid(f"an event is no JSON: {event.data[:200]!r}") from None


def _held(wait_s: int) -> dict[str, str]:
    return {"prefer": f"wait={min(wait_s, HELD_S_MAX)}"} if wait_s > 0 else {}


def _path(prediction_id: str) -> str:
    return f"/v1/predictions/{quote(prediction_id, safe='')}"
