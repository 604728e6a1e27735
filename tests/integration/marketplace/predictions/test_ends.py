"""What becomes of a prediction in the end: told as it was, deleted whole, and not kept for ever."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace.predictions import services
from marketplace.predictions.models import Prediction
from marketplace.predictions.services import predictions_abort, predictions_forget
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import LOST_AFTER, job_claim, jobs_sweep
from tests.integration.marketplace.predictions.asking import CHAT, Api, run_one
from tests.integration.marketplace.predictions.routers import FakeRouter
from tests.integration.marketplace.shop import Shop, signed_in


def test_half_a_character_at_the_end_of_an_answer_is_shown_as_what_it_is(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    router.words = ["A wave: ", "\ud83c", "\udf0a", " and half of another: ", "\ud83c"]
    uid = api.ask().json()["id"]
    run_one()
    ended = api("GET", uid)
    assert ended.status_code == 200
    (choice,) = ended.json()["output"]["choices"]
    said = "A wave: \U0001f30a and half of another: \ufffd"
    assert choice["message"]["content"] == said
    assert said in signed_in(shop.owner).get(f"/predictions/{uid}").content.decode()


def test_a_deadline_that_passes_after_an_attempt_was_lost_does_not_say_that_none_began(
    api: Api,
) -> None:
    asked = {"model": "author/slug", "input": CHAT}
    uid = api("POST", body=asked, cancel_after="5s").json()["id"]
    job_claim(job_kinds[Prediction])
    Prediction.objects.update(heartbeat_at=timezone.now() - LOST_AFTER - timedelta(seconds=1))
    assert jobs_sweep() == 1
    assert predictions_abort(timezone.now() + timedelta(seconds=6)) == 1
    assert api("GET", uid).json()["status"] == "canceled"


def test_one_that_is_deleted_leaves_no_response_behind(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    gone, left = (api.ask(input={"input": "Hi"}).json()["id"] for _ in range(2))
    for _ in range(2):
        run_one()
    for uid in (gone, left):
        kept_by_a_router(shop, uid)
    assert api("DELETE", gone).status_code == 200
    assert kept() == [f"resp_{uuid.UUID(left).hex}"]
    hours = timedelta(hours=100)
    assert predictions_forget(timezone.now() + hours) == 1
    assert kept() == [f"resp_{uuid.UUID(left).hex}"], "a response is kept for longer"


def kept_by_a_router(shop: Shop, uid: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO routing_response (id, organisation_id, previous_id, items, body, "
            "expires_at) VALUES (%s, %s, '', '[]', '{}', now() + interval '1 day')",
            [f"resp_{uuid.UUID(uid).hex}", shop.organisation.pk],
        )


def kept() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM routing_response")
        return [row[0] for row in cursor.fetchall()]


def test_all_that_is_over_for_long_goes_and_none_of_it_is_read(
    api: Api, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "DELETED_AT_ONCE", 2)
    for _ in range(5):
        api.ask()
    later = timezone.now() + timedelta(hours=settings.WAYPOST_PREDICTION_KEPT_HOURS, seconds=1)
    Prediction.objects.update(state=JobState.SUCCEEDED, ended_at=timezone.now())
    with CaptureQueriesContext(connection) as queries:
        assert predictions_forget(later) == 5
    assert not Prediction.objects.exists()
    assert not [query for query in queries if "input_text" in query["sql"]]
