"""What the doctor reads from the database: each fault is found, and soundness is too."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from marketplace.billing.services import ledger_reconcile
from marketplace.dead_letters.models import DeadLetter
from marketplace.operations.doctor import data_services, work
from marketplace.operations.doctor.checks import CHECKS
from marketplace.operations.doctor.findings import Finding, Verdict, examine
from marketplace.operations.models import Backup, Heartbeat
from marketplace.operations.selectors import database_up_s
from marketplace.planning.models import WhatIf
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.periodic import Queue
from marketplace.webhooks.models import Delivery
from tests.integration.marketplace.ledger import intrude, lease_take
from tests.integration.marketplace.shop import Shop
from tests.ports import free_ports

pytestmark = pytest.mark.usefixtures("kept_shop")

HOUR = timedelta(hours=1)
OF_ROWS = (
    "database",
    "migrations",
    "secrets",
    "clock",
    "queues",
    "jobs",
    "dead letters",
    "webhooks",
    "books",
    "backups",
    "leases",
)


@pytest.fixture(autouse=True)
def up_s(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How long the database has been up; it could be any time of these tests' own."""
    known = {"now": 3_600.0}
    monkeypatch.setattr(work, "database_up_s", lambda: known["now"])
    return known


def looked(name: str) -> list[Finding]:
    (check,) = (check for check in CHECKS if check.name == name)
    return check.look()


def verdicts(name: str) -> list[Verdict]:
    return [finding.verdict for finding in looked(name)]


def beat(queue: Queue, age: timedelta = timedelta()) -> None:
    Heartbeat.objects.update_or_create(queue=queue, defaults={"beat_at": timezone.now() - age})


def test_a_sound_installation_has_nothing_wrong(shop: Shop) -> None:
    for queue in Queue:
        beat(queue)
    ledger_reconcile()
    found = examine(tuple(check for check in CHECKS if check.name in OF_ROWS))
    assert [finding for finding in found if finding.verdict is not Verdict.GOOD] == []
    assert len(found) == len(OF_ROWS) - 1 + len(Queue)


def test_migrations_that_are_not_applied_are_named(shop: Shop) -> None:
    intrude("DELETE FROM django_migrations WHERE app = 'operations'")
    (found,) = looked("migrations")
    assert found.verdict is Verdict.BAD
    assert "operations.0001_initial" in found.text
    assert "manage.py migrate" in found.advice


def test_a_clock_that_differs_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        ((now_s,),) = cursor.fetchall()
    monkeypatch.setattr(data_services.time, "time", lambda: now_s - 3_600)
    assert verdicts("clock") == [Verdict.BAD]


def test_a_silent_queue_is_told_from_a_silent_clock(shop: Shop) -> None:
    (found,) = looked("queues")
    assert found.verdict is Verdict.BAD
    assert "the clock" in found.text
    beat(Queue.CONTROL)
    beat(Queue.CALLS, HOUR)
    beat(Queue.WORK, timedelta(minutes=10))
    found = {finding.name: finding.verdict for finding in looked("queues")}
    assert found == {
        "queue control": Verdict.GOOD,
        "queue calls": Verdict.BAD,
        "queue work": Verdict.GOOD,
    }


def test_what_had_no_time_since_a_start_is_not_called_dead(
    shop: Shop, up_s: dict[str, float]
) -> None:
    beat(Queue.CALLS, HOUR)
    beat(Queue.WORK)
    up_s["now"] = 20.0
    queues = looked("queues")
    assert {finding.name: finding.verdict for finding in queues} == {
        "queue control": Verdict.UNKNOWN,
        "queue calls": Verdict.UNKNOWN,
        "queue work": Verdict.GOOD,
    }
    assert queues[0].text == "not yet heard: the database has been up for 20 s"
    assert verdicts("books") == [Verdict.UNKNOWN]
    ledger_reconcile()
    intrude("UPDATE billing_reconciliationreport SET created_at = now() - interval '1 h'")
    assert verdicts("books") == [Verdict.GOOD]
    up_s["now"] = 121.0
    assert {finding.verdict for finding in looked("queues")} == {Verdict.GOOD, Verdict.BAD}
    assert verdicts("books") == [Verdict.BAD]


def test_a_new_installation_in_an_old_database_server_has_just_started(shop: Shop) -> None:
    assert database_up_s() > 0
    intrude("UPDATE django_migrations SET applied = now()")
    assert 0 <= database_up_s() < 60


def test_lost_jobs_dead_letters_and_late_webhooks_are_found(shop: Shop) -> None:
    WhatIf.objects.create(
        asked_by=shop.owner,
        model=shop.model,
        question={},
        state=JobState.RUNNING,
        heartbeat_at=timezone.now() - HOUR,
    )
    DeadLetter.objects.create(letter_id=uuid.uuid4(), reason="killed", headers="{}")
    Delivery.objects.create(
        organisation=shop.organisation,
        url="https://example.com/hook",
        event_id="event",
        event_type="test",
        due_at=timezone.now() - HOUR,
    )
    for name in ("jobs", "dead letters", "webhooks"):
        assert verdicts(name) == [Verdict.BAD], name


def test_books_that_were_never_proven_or_have_gaps_are_found(shop: Shop) -> None:
    assert verdicts("books") == [Verdict.BAD]
    lease_take(shop.customer_account.pk, 1, 500_000_000, router="lost")
    intrude("UPDATE billing_lease SET expires_at = now() - interval '1 h' WHERE router_id = 'lost'")
    ledger_reconcile()
    assert verdicts("books") == [Verdict.BAD]
    (found,) = looked("leases")
    assert found.verdict is Verdict.BAD
    assert "lost" in found.text
    intrude("UPDATE billing_reconciliationreport SET created_at = now() - interval '1 h'")
    assert ["gaps" in looked("books")[0].text, "last proven" in looked("books")[1].text] == [
        True,
        True,
    ]


def test_a_backup_that_is_old_or_was_never_made_is_asked_for(shop: Shop, settings: Any) -> None:
    assert verdicts("backups") == [Verdict.GOOD]
    intrude("UPDATE django_migrations SET applied = now() - interval '3 days'")
    (found,) = looked("backups")
    assert (found.verdict, found.text) == (Verdict.BAD, "none yet")
    assert "manage.py backup" in found.advice
    last = Backup.objects.create(made_at=timezone.now() - 47 * HOUR, place="/mnt/kept")
    assert verdicts("backups") == [Verdict.GOOD]
    last.made_at -= 2 * HOUR
    last.save()
    assert verdicts("backups") == [Verdict.BAD]
    settings.WAYPOST_BACKUP_HOURS_MAX = 0
    assert verdicts("backups") == [Verdict.UNKNOWN]


def test_a_proof_from_the_beginning_that_is_old_is_found(shop: Shop) -> None:
    ledger_reconcile(whole=True)
    ledger_reconcile()
    assert verdicts("books") == [Verdict.GOOD]
    intrude(
        "UPDATE billing_reconciliationreport SET created_at = now() - interval '3 days' WHERE whole"
    )
    (found,) = looked("books")
    assert "from the beginning" in found.text


def test_a_router_that_does_not_answer_is_named(shop: Shop, settings: Any) -> None:
    settings.ROUTER_ADMIN_TOKEN = "admin"
    (found,) = looked("routers")
    assert found.text == "none is a member"
    (port,) = free_ports(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT routing_beat('one:1', %s, 60, '{}', '{}')", [f"http://127.0.0.1:{port}"]
        )
    (found,) = looked("routers")
    assert (found.name, found.verdict) == ("router one:1", Verdict.BAD)
    assert "no answer" in found.text


def test_a_router_with_an_old_catalog_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "new": work.RouterState(snapshot_version=8, waiting=0, unsettled=0, workers=()),
        "behind": work.RouterState(snapshot_version=7, waiting=0, unsettled=0, workers=()),
        "cut off": work.RouterState(
            snapshot_version=8, waiting=0, unsettled=0, workers=(), snapshot_age_s=200.0
        ),
        "late": work.RouterState(snapshot_version=8, waiting=0, unsettled=20_000, workers=()),
    }
    members = [work.Member(name, "http://router", beats=True) for name in states]
    monkeypatch.setattr(work, "members_known", lambda: members)
    monkeypatch.setattr(work, "state_fetch", lambda member: states[member.router_id])
    assert [(one.name, one.verdict) for one in looked("routers")] == [
        ("router new", Verdict.GOOD),
        ("router behind", Verdict.BAD),
        ("router cut off", Verdict.BAD),
        ("router late", Verdict.BAD),
    ]
