"""What Prometheus learns of background work."""

import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from marketplace.dead_letters.models import DeadLetter
from marketplace.operations import tasks
from marketplace.operations.models import Heartbeat
from marketplace.planning.models import WhatIf
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.periodic import Queue, registered
from marketplace.shared.jobs.services import LOST_AFTER
from marketplace.webhooks.models import Delivery
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

ROOT = Path(__file__).parents[4]
TOKEN = "a token for tests"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.WAYPOST_METRICS_TOKEN = TOKEN


def scraped() -> dict[str, float]:
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    found = re.findall(r"^waypost_(jobs\S*) (\S+)$", answer.content.decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def move(row: Model, **times: Any) -> None:
    type(row)._default_manager.filter(pk=row.pk).update(**times)


def test_each_queue_has_a_heartbeat_and_its_age_is_scraped(shop: Shop) -> None:
    assert not [name for name in scraped() if "heartbeat" in name], "none has beaten yet"
    beats = {
        task.queue: task for task in registered.values() if task.run.__module__ == tasks.__name__
    }
    assert set(beats) == set(Queue)
    for task in beats.values():
        task.run()
        task.run()
    move(Heartbeat.objects.get(queue=Queue.WORK), beat_at=timezone.now() - HOUR)
    found = scraped()
    assert 0 <= found['jobs_heartbeat_age_seconds{queue="control"}'] < 60
    assert 0 <= found['jobs_heartbeat_age_seconds{queue="calls"}'] < 60
    assert 3600 <= found['jobs_heartbeat_age_seconds{queue="work"}'] < 3660


def test_jobs_that_wait_and_that_are_lost_are_scraped(shop: Shop) -> None:
    waits, runs, lost = (WhatIf.objects.create(**_asked(shop)) for _ in range(3))
    now = timezone.now()
    move(waits, created_at=now - HOUR)
    move(runs, state=JobState.RUNNING, started_at=now, heartbeat_at=now)
    move(lost, state=JobState.RUNNING, started_at=now - HOUR, heartbeat_at=now - 2 * LOST_AFTER)
    found = scraped()
    assert found['jobs{kind="planning.whatif",state="queued"}'] == 1
    assert found['jobs{kind="planning.whatif",state="running"}'] == 2
    assert found['jobs_lost{kind="planning.whatif"}'] == 1
    assert 3600 <= found['jobs_waiting_seconds{kind="planning.whatif"}'] < 3660
    assert found['jobs{kind="batches.batch",state="queued"}'] == 0
    assert found['jobs_waiting_seconds{kind="batches.batch"}'] == 0


def test_a_job_between_two_turns_does_not_wait_since_its_beginning(shop: Shop) -> None:
    job = WhatIf.objects.create(**_asked(shop))
    move(job, created_at=timezone.now() - HOUR, started_at=timezone.now())
    assert scraped()['jobs_waiting_seconds{kind="planning.whatif"}'] == 0


def _asked(shop: Shop) -> dict[str, Any]:
    return {"asked_by": shop.owner, "model": shop.model, "question": {}}


def test_dead_letters_count_for_a_day_or_until_they_are_sent_again(shop: Shop) -> None:
    letters = [
        DeadLetter.objects.create(letter_id=uuid.uuid4(), reason="killed", headers="{}")
        for _ in range(3)
    ]
    move(letters[0], kept_at=timezone.now() - 25 * HOUR)
    move(letters[1], retried_at=timezone.now())
    assert scraped()["jobs_dead_letters"] == 1


def test_webhooks_that_are_due_are_scraped(shop: Shop) -> None:
    assert scraped()["jobs_webhooks_late_seconds"] == 0
    now = timezone.now()
    for number, due_at in enumerate((now - HOUR, now - HOUR / 2, now + HOUR)):
        Delivery.objects.create(
            organisation=shop.organisation,
            url="https://example.com/hook",
            event_id=f"event-{number}",
            event_type="test",
            due_at=due_at,
        )
    found = scraped()
    assert found["jobs_webhooks_due"] == 2
    assert 3600 <= found["jobs_webhooks_late_seconds"] < 3660
