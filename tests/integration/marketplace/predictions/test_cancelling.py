"""Predictions that end early, as they wait and as they run; and when those that are over go."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.running import job as running
from marketplace.predictions.running.job import Following
from marketplace.predictions.services import (
    prediction_cancel,
    predictions_abort,
    predictions_forget,
)
from marketplace.predictions.tasks import abort, forget
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel, job_claim, job_run_next
from marketplace.webhooks.models import Delivery
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of, run_one
from tests.integration.marketplace.predictions.routers import FakeRouter


def test_one_that_waits_is_cancelled_at_once_and_only_once(api: Api) -> None:
    uid = api.ask().json()["id"]
    cancelled = api("POST", f"{uid}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
    assert error_of(api("POST", f"{uid}/cancel"), 409)["code"] == "prediction_over"
    assert api("GET", f"{uid}/stream").content.startswith(b"event: completed")
    assert job_run_next(Prediction) is None


def test_one_that_is_cancelled_by_two_at_once_is_over_once(api: Api) -> None:
    uid = api.ask(webhook="https://hooks.example.com/waypost").json()["id"]
    first, second = (Prediction.objects.get(uid=uid) for _ in range(2))
    assert prediction_cancel(prediction=first)
    assert not prediction_cancel(prediction=second)
    assert second.state == JobState.CANCELLED
    assert list(second.events.values_list("kind", flat=True)) == [Event.COMPLETED]
    assert Delivery.objects.count() == 1


def test_one_that_ends_while_it_is_cancelled_keeps_its_end(api: Api, router: FakeRouter) -> None:
    uid = api.ask().json()["id"]
    seen = Prediction.objects.get(uid=uid)
    run_one()
    assert not prediction_cancel(prediction=seen)
    assert seen.state == JobState.SUCCEEDED
    assert seen.events.filter(kind=Event.COMPLETED).count() == 1


def test_one_that_runs_may_be_cancelled_twice(api: Api) -> None:
    uid = api.ask().json()["id"]
    job_claim(job_kinds[Prediction])
    asked = Prediction.objects.get(uid=uid)
    assert prediction_cancel(prediction=asked)
    assert prediction_cancel(prediction=asked)
    assert asked.state == JobState.RUNNING
    assert not asked.events.exists()


def test_one_that_runs_hangs_up_on_the_router_and_keeps_what_came(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.may_end.clear()
    uid = api.ask().json()["id"]
    flush = Following._flush

    def flush_and_cancel(following: Following) -> None:
        flush(following)
        job_cancel(following._prediction)

    monkeypatch.setattr(Following, "_flush", flush_and_cancel)
    run_one()
    ended = api("GET", uid).json()
    assert ended["status"] == "canceled"
    assert ended["output"]["choices"][0]["message"]["content"] == "The sea is "
    assert (router.left, router.cancelled) == (1, [f"prediction:{uid}"])


def test_a_deadline_that_passes_while_it_waits_aborts_it_unbilled(
    api: Api, router: FakeRouter
) -> None:
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="5s").json()["id"]
    assert abort() == 0
    assert predictions_abort(timezone.now() + timedelta(seconds=6)) == 1
    ended = api("GET", uid).json()
    assert (ended["status"], ended["metrics"]["cost"]) == ("aborted", None)
    assert router.calls == []


def test_a_deadline_that_passed_is_seen_where_it_would_start(api: Api, router: FakeRouter) -> None:
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="5s").json()["id"]
    Prediction.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))
    run_one()
    assert api("GET", uid).json()["status"] == "aborted"
    assert router.calls == []


def test_a_deadline_that_passes_while_it_runs_ends_it(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.may_end.clear()
    uid = api("POST", body={"model": "author/slug", "input": CHAT}, cancel_after="1m").json()["id"]
    left = running.left_s
    monkeypatch.setattr(running, "left_s", lambda one: 0.0 if router.calls else left(one))
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], ended["metrics"]["predict_time"]) == ("canceled", None)
    assert "deadline" in ended["logs"]
    assert router.cancelled == [f"prediction:{uid}"]


def test_what_is_over_is_forgotten_in_time(api: Api, settings: Any) -> None:
    uid = api.ask().json()["id"]
    api.ask()
    api("POST", f"{uid}/cancel")
    assert forget() == 0
    later = timezone.now() + timedelta(hours=settings.WAYPOST_PREDICTION_KEPT_HOURS, seconds=1)
    assert predictions_forget(later) == 1
    error_of(api("GET", uid), 404)
    assert Prediction.objects.get().state == JobState.QUEUED
