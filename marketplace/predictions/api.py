"""``/v1/predictions``: the shapes that clients of such services speak."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.models import User
from marketplace.inference.errors import JobError
from marketplace.inference.idempotency import REPLAYED, fingerprint_of, key_of
from marketplace.inference.views import JobsView
from marketplace.predictions.asking import preferences
from marketplace.predictions.asking.called import Called, called
from marketplace.predictions.calls.invalid import InputInvalid
from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.responses.following import Stream, Wait, stream_begin
from marketplace.predictions.responses.representation import prediction_as_json
from marketplace.predictions.selectors import (
    by_uid,
    figures_fill,
    predictions_listed,
)
from marketplace.predictions.services import (
    Asked,
    TooMany,
    prediction_cancel,
    prediction_create,
    prediction_delete,
)
from marketplace.shared.held import hold
from marketplace.shared.numbers import whole
from marketplace.webhooks.services import webhook_url_checked
from router.domain.request import Priority

RETRY_AFTER_S = 1
EVENTS_SENT = (Event.START, Event.COMPLETED)
"""The events that a webhook gets without a filter."""


class PredictionSerializer(serializers.Serializer[Any]):
    """The body of a new prediction, but for what depends on its model."""

    model = serializers.CharField(required=False, max_length=160)
    version = serializers.CharField(required=False, max_length=160)
    input = serializers.JSONField()
    priority = serializers.ChoiceField(
        choices=[priority.value for priority in Priority], required=False, default=""
    )
    webhook = serializers.CharField(required=False, max_length=2_000, default="")
    webhook_events_filter = serializers.ListField(
        child=serializers.ChoiceField(choices=Event.choices), required=False, default=list
    )


class PredictionPages(CursorPagination):
    """``?cursor=``, ``?page_size=``: the newest first, in ``results`` with ``next``."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 100


class AnyAnswer(BaseContentNegotiation):
    """Answers the same whatever is accepted: a stream is asked for by its URL."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        wanted = request.content_type.split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == wanted), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class _View(JobsView):
    content_negotiation_class = AnyAnswer

    def found(self, prediction_id: str) -> Prediction:
        """The organisation's prediction of that id, or 404."""
        try:
            uid = UUID(prediction_id)
        except ValueError:
            uid = None
        prediction = by_uid(self.caller.organisation_id, uid) if uid else None
        if prediction is None:
            raise NotFound(f"There is no prediction {prediction_id[:80]!r}.")
        return prediction

    def answer(self, request: Request, prediction: Prediction, status: int = 200) -> Response:
        """The prediction; held open until it is over where ``Prefer`` asks for that."""
        seconds = _wait_s(request)
        headers = {}
        if seconds:
            headers["Preference-Applied"] = f"wait={seconds:g}"
            if not prediction.is_over:
                hold(request, Wait(prediction, seconds))
        return Response(prediction_as_json(prediction), status, headers=headers)


class PredictionsView(_View):
    """Ask for a prediction, or list them."""

    def get(self, request: Request) -> Response:
        pages = PredictionPages()
        rows = pages.paginate_queryset(
            predictions_listed(self.caller.organisation_id),
            request,
            view=self,
        )
        figures_fill(rows or ())
        # What was put in and came out is in each prediction itself.
        listed = [prediction_as_json(row, is_listed=True) for row in rows or ()]
        return Response(
            {
                "object": "list",
                "results": listed,
                "next": pages.get_next_link(),
                "previous": pages.get_previous_link(),
            }
        )

    def post(self, request: Request) -> Response:
        asked = _asked(request, self.caller.organisation_id)
        _wait_s(request)
        person = request.user if isinstance(request.user, User) else None
        try:
            prediction, replayed = prediction_create(
                caller=self.caller, asked_by=person, asked=asked
            )
        except TooMany as error:
            raise _again(str(error), "queue_full", 429) from None
        response = self.answer(request, prediction, 201)
        if replayed:
            response.headers[REPLAYED] = "true"
        return response


class PredictionView(_View):
    """One prediction."""

    def get(self, request: Request, prediction_id: str) -> Response:
        return self.answer(request, self.found(prediction_id))

    def delete(self, request: Request, prediction_id: str) -> Response:
        """Delete it. One that is not over has to be cancelled first."""
        prediction = self.found(prediction_id)
        if not prediction_delete(prediction=prediction):
            said = "The prediction is not over: cancel it first."
            raise JobError(said, code="prediction_not_over", status=409)
        uid = str(prediction.uid)
        return Response({"id": uid, "object": "prediction", "deleted": True})


class PredictionCancelView(_View):
    """End one."""

    def post(self, request: Request, prediction_id: str) -> Response:
        prediction = self.found(prediction_id)
        if not prediction_cancel(prediction=prediction):
            raise JobError(
                f"The prediction is over: it {_ENDS[prediction.status]}.",
                code="prediction_over",
                status=409,
            )
        return Response(prediction_as_json(prediction))


class PredictionStreamView(_View):
    """What happens to one, as server-sent events."""

    def get(self, request: Request, prediction_id: str) -> HttpResponse:
        prediction = self.found(prediction_id)
        after_id = whole(request.headers.get("Last-Event-ID", "")) or 0
        body, stream = stream_begin(prediction, after_id)
        if stream is not None:
            hold(request, stream)
        return HttpResponse(body, content_type=Stream.CONTENT_TYPE)


_ENDS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "was cancelled",
    "aborted": "was too late to start",
}


def _asked(request: Request, organisation_id: int) -> Asked:
    """The checked request. Raises the caller's error."""
    if not isinstance(request.data, dict):
        raise JobError("The body must be a JSON object.", status=422)
    serializer = PredictionSerializer(data=request.data)
    if not serializer.is_valid():
        raise _unprocessable(serializer.errors)
    given = serializer.validated_data
    wanted = _called(given, organisation_id)
    try:
        wanted.check(given["input"])
        seconds = preferences.cancel_after_s(request.headers.get("Cancel-After", ""))
    except (InputInvalid, preferences.HeaderInvalid) as error:
        raise JobError(str(error), param=error.param, status=422) from None
    waits = _wait_s(request)
    priority = given["priority"] or (Priority.INTERACTIVE if waits else Priority.STANDARD)
    return Asked(
        model=wanted.model,
        pipeline=wanted.pipeline,
        called_name=wanted.name,
        version=wanted.version,
        pinned=wanted.pinned,
        input_text=json.dumps(given["input"], separators=(",", ":")),
        priority=str(priority),
        webhook=_webhook(given["webhook"]),
        webhook_events=tuple(given["webhook_events_filter"] or EVENTS_SENT),
        deadline_at=timezone.now() + timedelta(seconds=seconds) if seconds else None,
        idempotency_key=key_of(request),
        fingerprint=fingerprint_of(request.data, seconds),
    )


def _called(given: Mapping[str, Any], organisation_id: int) -> Called:
    name, version = _named(given.get("model", ""), given.get("version", ""))
    return called(
        name, version, organisation_id, param="model" if given.get("model") else "version"
    )


def _named(model: str, version: str) -> tuple[str, str]:
    """The model's name and the version that is wished for, which may be ""."""
    if not model and not version:
        raise JobError("model is missing", param="model", status=422)
    name, _, pinned = version.partition(":")
    if "/" not in name:
        name, pinned = "", version
    if model and name and model != name:
        raise JobError(f"version {version!r} is none of {model}", param="version", status=422)
    if not model and not name:
        raise JobError(
            "give the model beside the version, or a version like author/slug:1",
            param="version",
            status=422,
        )
    return model or name, pinned


def _webhook(url: str) -> str:
    try:
        return webhook_url_checked(url) if url else ""
    except ValidationError as error:
        raise JobError(" ".join(error.messages), param="webhook", status=422) from None


def _wait_s(request: Request) -> float:
    try:
        return preferences.wait_s(request.headers.get("Prefer", ""))
    except preferences.HeaderInvalid as error:
        raise JobError(str(error), param=error.param, status=422) from None


def _again(message: str, code: str, status: int) -> JobError:
    error = JobError(message, code=code, status=status)
    error.wait = RETRY_AFTER_S  # type: ignore[attr-defined]  # REST framework: Retry-After
    return error


def _unprocessable(errors: Any) -> JobError:
    name, messages = next(iter(errors.items()))
    while isinstance(messages, dict | list) and messages:
        messages = next(iter(messages.values())) if isinstance(messages, dict) else messages[0]
    return JobError(f"{name}: {messages}", param=str(name), status=422)
