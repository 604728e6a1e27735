"""Dead letters are kept once, shown to staff, and go back to their queue."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from kombu import Connection, Producer

from marketplace.accounts.models import User
from marketplace.dead_letters import services
from marketplace.dead_letters.models import DeadLetter
from marketplace.dead_letters.services import letters_keep
from marketplace.shared.jobs.brokers import queues
from marketplace.shared.jobs.letters import Letter, Reason, letter_send
from marketplace.shared.jobs.periodic import Queue

pytestmark = pytest.mark.django_db
BROKER = "memory://"


@pytest.fixture
def broker(settings: Any) -> Iterator[Connection]:
    settings.BROKER_URL = BROKER
    with Connection(BROKER) as connection:
        for queue in queues():
            queue(connection.default_channel).declare()
            queue(connection.default_channel).purge()
        yield connection


def letter(**changes: Any) -> Letter:
    values: dict[str, Any] = {
        "reason": Reason.KILLED,
        "detail": "delivered 4 times",
        "task": "catalog.probe_workers",
        "queue": Queue.CONTROL,
        "body": b"[[], {}, {}]",
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"task": "catalog.probe_workers", "id": "7", "eta": None, "x-redeliveries": 3},
    }
    return Letter(**values | changes)


def kept(broker: Connection, **changes: Any) -> DeadLetter:
    letter_send(Producer(broker), letter(**changes))
    assert letters_keep() == 1
    return DeadLetter.objects.latest("pk")


def test_a_letter_is_kept_once_however_often_it_is_delivered(broker: Connection) -> None:
    one = letter()
    for _ in range(2):
        letter_send(Producer(broker), one)
    assert letters_keep() == 1
    assert letters_keep() == 0
    assert str(DeadLetter.objects.get().letter_id) == one.id


def test_what_postgresql_cannot_keep_is_left_out(broker: Connection) -> None:
    row = kept(broker, task="a\0" * 300, detail="\0", headers={"task": "a\0"}, body=b"\0\xff")
    assert row.task == "a" * 200
    assert bytes(row.body) == b"\0\xff"
    assert json.loads(row.headers) == {"task": "a\0"}


def test_the_oldest_go_when_there_are_too_many(
    broker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "KEPT_MAX", 2)
    rows = [kept(broker) for _ in range(4)]
    assert list(DeadLetter.objects.all()) == [rows[3], rows[2]]


def test_staff_retry_a_letter_and_its_message_is_as_it_was(
    broker: Connection, staff: Client
) -> None:
    row = kept(broker)
    assert "catalog.probe_workers" in staff.get("/dead-letters").content.decode()
    assert staff.post(f"/dead-letters/{row.pk}/retry").status_code == 302
    with broker.SimpleQueue(queues()[0]) as queue:
        message = queue.get(block=False)
    assert message.headers == {"task": "catalog.probe_workers", "id": "7", "eta": None}
    assert message.payload == [[], {}, {}]
    page = staff.get("/dead-letters").content.decode()
    assert "staff@example.com" in page.split("<tbody>")[1]
    again = staff.post(f"/dead-letters/{row.pk}/retry")
    assert again.status_code == 422
    assert "already retried" in again.content.decode()


def test_what_is_not_whole_is_not_retried(broker: Connection, staff: Client) -> None:
    row = kept(broker, body=None)
    answer = staff.post(f"/dead-letters/{row.pk}/retry")
    assert answer.status_code == 422
    assert "incomplete" in answer.content.decode()


def test_a_letter_stays_when_the_broker_is_away(
    broker: Connection, staff: Client, settings: Any
) -> None:
    row = kept(broker)
    # Port 9 (discard) refuses at once.
    for url in ("redis://127.0.0.1:9", "amqp://127.0.0.1:9"):
        settings.BROKER_URL = url
        answer = staff.post(f"/dead-letters/{row.pk}/retry")
        assert answer.status_code == 422
        assert "did not accept it" in answer.content.decode()
    row.refresh_from_db()
    assert row.retried_at is None


def test_the_page_is_for_staff(broker: Connection, client: Client) -> None:
    row = kept(broker)
    client.force_login(User.objects.create_user("member@example.com"))
    assert client.get("/dead-letters").status_code == 403
    assert client.post(f"/dead-letters/{row.pk}/retry").status_code == 403


def test_without_a_letter_the_page_says_so(staff: Client) -> None:
    assert "No dead letters" in staff.get("/dead-letters").content.decode()
