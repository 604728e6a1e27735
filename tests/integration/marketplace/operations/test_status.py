"""The public status page, and the incidents that it shows."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.core.cache import caches
from django.test import Client
from django.utils import timezone

from marketplace.operations.models import Heartbeat, Incident, Part
from marketplace.operations.status.watching import incidents_note, parts_looked_at
from marketplace.operations.tasks import beat_of_control
from marketplace.shared.jobs.periodic import Queue
from marketplace.usage.services import deployment_rollups_compute
from router.domain.outcome import Outcome
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def without_kept_status() -> None:
    caches["process"].clear()


def incidents() -> list[tuple[str, datetime, datetime | None]]:
    return list(Incident.objects.order_by("began_at").values_list("part", "began_at", "ended_at"))


def test_an_incident_lasts_until_its_part_is_seen_to_work() -> None:
    incidents_note({Part.API: False, Part.JOBS: True}, NOON)
    incidents_note({Part.API: False}, NOON + MINUTE)
    incidents_note({Part.API: None}, NOON + 2 * MINUTE)
    assert incidents() == [("api", NOON, None)], "what is unknown ends nothing"
    incidents_note({Part.API: True}, NOON + 3 * MINUTE)
    assert incidents() == [("api", NOON, NOON + 3 * MINUTE)]


def test_short_and_old_ones_are_forgotten() -> None:
    incidents_note({Part.API: False}, NOON)
    incidents_note({Part.API: True}, NOON + MINUTE / 2)
    assert incidents() == []
    Incident.objects.create(part=Part.API, began_at=NOON, ended_at=NOON + MINUTE)
    incidents_note({}, NOON + timedelta(days=91))
    assert incidents() == []


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({"/readyz": 200, "/v1/batches": 401}, {"api": True, "pages": True}),
        ({"/readyz": 200, "/v1/batches": 503}, {"api": True, "pages": False}),
        ({"/readyz": 503, "/v1/batches": 503}, {"api": False, "pages": None}),
        ({}, {"api": False, "pages": None}),
    ],
)
def test_parts_are_looked_at_as_callers_see_them(
    answers: dict[str, int], found: dict[str, bool | None]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path not in answers:
            raise httpx.ConnectError("nobody is there")
        return httpx.Response(answers[request.url.path])

    Heartbeat.objects.create(queue=Queue.CALLS, beat_at=timezone.now() - timedelta(hours=1))
    with httpx.Client(base_url="http://router", transport=httpx.MockTransport(answer)) as router:
        assert parts_looked_at(router) == {**found, "jobs": False}


def test_a_silence_of_the_clock_is_an_incident_once_it_is_over() -> None:
    beat_of_control()
    beat_of_control()
    assert incidents() == []
    Heartbeat.objects.update(beat_at=NOON)
    beat_of_control()
    ((part, began_at, ended_at),) = incidents()
    assert (part, began_at) == ("jobs", NOON)
    assert ended_at is not None


def test_the_page_tells_everybody_what_is_recorded(shop: Shop) -> None:
    settled_call(shop)
    settled_call(shop, outcome=Outcome.WORKER_FAILED)
    deployment_rollups_compute()
    first = Client().get("/status")
    assert "unknown" in first.text, "nobody has looked yet"
    assert not first.context["status"].disturbed
    caches["process"].clear()
    beat_of_control()
    since = timezone.now() - 5 * MINUTE
    Incident.objects.create(part=Part.PAGES, began_at=since)
    Incident.objects.create(part=Part.API, began_at=NOON, ended_at=NOON + 90 * MINUTE)
    page = Client().get("/status")
    assert "Not everything works now." in page.text
    assert f"since {since:%Y-%m-%d %H:%M} UTC" in page.text
    assert "1\xa0hour, 30\xa0minutes" in page.text
    (model,) = page.context["status"].models
    assert (model.lately.uptime, model.long.uptime, model.bars[-1].state) == (0.5, 0.5, "bad")
    assert "no-store" not in page.headers.get("Cache-Control", "")
    assert 'href="/status"' in Client().get("/models").text
    again = Client().get("/status")
    assert again.context["status"].taken_at == page.context["status"].taken_at, "it is kept"
