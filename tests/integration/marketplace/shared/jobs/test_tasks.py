"""The jobs: probing over HTTP, reconciliation, publishing what came due; Celery's own promises."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery.schedules import crontab
from django.utils import timezone

from deploy.local.home import secrets
from deploy.local.services import stack
from deploy.local.services.stack import Options
from marketplace.accounts.services import organisation_keep_responses
from marketplace.billing import tasks as billing
from marketplace.billing.models import ReconciliationReport
from marketplace.catalog import health
from marketplace.catalog import tasks as catalog
from marketplace.catalog.models import Pool, Worker
from marketplace.catalog.services import HealthReading, offer_publish, worker_health_record
from marketplace.routing import tasks as routing
from marketplace.routing.models import SnapshotRow
from marketplace.shared.jobs.current import job_running
from marketplace.shared.jobs.periodic import Queue, registered
from router.domain.pricing import Price
from tests.integration.marketplace.ledger import call, intrude
from tests.integration.marketplace.shop import Shop
from workers.celery_app import app


def test_every_task_says_its_queue() -> None:
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == set(registered)
    sent_to = {name: app.amqp.router.route({}, name)["queue"].name for name in ours}
    assert sent_to == {name: task.queue for name, task in registered.items()}


def test_every_queue_has_job_processes_of_its_own(tmp_path: Path) -> None:
    services = stack.build(Options(tmp_path), secrets.load_or_make(tmp_path, {})).services
    worked_on = [
        service.argv[service.argv.index("--queues") + 1]
        for service in services
        if "--queues" in service.argv
    ]
    assert sorted(worked_on) == sorted(Queue)


def test_what_people_ask_for_is_no_part_of_control() -> None:
    control = {name for name, task in registered.items() if task.queue is Queue.CONTROL}
    assert control == {
        "billing.reconcile",
        "catalog.probe_workers",
        "dead_letters.keep",
        "endpoints.probe_own_workers",
        "jobs.benchmarks.benchmark",
        "operations.beat_of_control",
        "operations.status.look_at_parts",
        "predictions.abort",
        "providers.follow_benchmarks",
        "providers.hide_staged",
        "routing.publish_what_came_due",
        "tuning.steer_canaries",
        "tuning.watch_stragglers",
        "shared.jobs.sweep",
    }


@pytest.mark.django_db
def test_of_a_control_task_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def slow_probe(workers: object) -> object:
        assert job_running() == "catalog.probe_workers"
        runs.append("begun")
        if len(runs) == 1:
            app.tasks["catalog.probe_workers"]()
            runs.append("ended")
        return health.probe([])

    monkeypatch.setattr(catalog, "workers_to_probe", lambda: [worker(1)])
    monkeypatch.setattr(catalog, "probe", slow_probe)
    app.tasks["catalog.probe_workers"]()
    assert runs == ["begun", "ended"]
    app.tasks["catalog.probe_workers"]()
    assert runs == ["begun", "ended", "begun"]


def worker(pk: int, protocol: str = "openai") -> Worker:
    return Worker(pk=pk, worker_id=f"w{pk}", url=f"http://w{pk}/base/", protocol=protocol)


async def test_each_protocol_is_asked_its_own_way() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.host == "w2":
            return httpx.Response(404 if request.url.path == "/base/health" else 200)
        if request.url.host == "w4":
            return httpx.Response(503)
        if request.url.host == "w5":
            raise httpx.ConnectTimeout("too slow")
        return httpx.Response(200)

    workers = [worker(1), worker(2), worker(3, "oip"), worker(4), worker(5, "oip")]
    readings = await health.probe(workers, httpx.MockTransport(answer))
    assert readings == [
        HealthReading(1),
        HealthReading(2),
        HealthReading(3),
        HealthReading(4, "GET /health: HTTP 503"),
        HealthReading(5, "ConnectTimeout: too slow", reached=False),
    ]
    assert set(asked) == {
        "http://w1/base/health",
        "http://w2/base/health",
        "http://w2/base/v1/models",
        "http://w3/base/v2/health/ready",
        "http://w4/base/health",
        "http://w5/base/v2/health/ready",
    }


async def test_a_worker_over_grpc_is_asked_over_grpc(triton_addresses: dict[str, str]) -> None:
    workers = [worker(1, "oip_grpc"), worker(2, "oip_grpc")]
    workers[0].url = f"grpc://{triton_addresses['grpc']}"
    workers[1].url = "grpc://127.0.0.1:9"
    ready, refused = await health.probe(workers)
    assert ready == HealthReading(1)
    assert refused.error.startswith("gRPC: ")
    assert not refused.reached
    assert len(refused.error) <= 200


def test_a_worker_that_is_down_leaves_the_snapshot_healthy_list(shop: Shop) -> None:
    # Port 9 (discard) refuses at once.
    assert catalog.probe_workers() == []
    assert catalog.probe_workers() == ["fast-0"]
    shop.worker.refresh_from_db()
    assert not shop.worker.healthy
    assert "ConnectError" in shop.worker.health_error
    assert shop.worker.health_checked_at is not None
    row = SnapshotRow.objects.first()
    assert row is not None
    assert row.body["workers"][0]["healthy"] is False


def test_words_of_a_worker_that_no_table_keeps_are_left_out_of_its_reading(shop: Shop) -> None:
    reading = HealthReading(shop.worker.pk, "gRPC: \0not now", certain=True)
    assert worker_health_record(readings=[reading]) == ["fast-0"]
    shop.worker.refresh_from_db()
    assert shop.worker.health_error == "gRPC: not now"


def test_draining_and_switched_off_workers_are_not_asked(shop: Shop, settings: object) -> None:
    pool = Pool.objects.create(name="e", hardware="h", engine="e", emulated=True)
    Worker.objects.create(worker_id="e-0", pool=pool, url="http://127.0.0.1:9", protocol="openai")
    settings.WAYPOST_EMULATED = False  # type: ignore[attr-defined]
    shop.worker.draining = True
    shop.worker.save()
    assert catalog.probe_workers() == []
    assert not Worker.objects.exclude(health_checked_at=None).exists()


@pytest.mark.django_db
def test_idempotency_keys_are_deleted_after_their_day() -> None:
    for key, age in (("old", "- interval '1 second'"), ("new", "+ interval '1 day'")):
        call(
            "INSERT INTO routing_idempotency (scope, key, fingerprint, expires_at) "
            f"VALUES ('s', '{key}', 'f', now() {age})"
        )
    assert routing.purge_idempotency_keys() == 1
    assert routing.purge_idempotency_keys() == 0


def test_responses_are_deleted_when_they_expire_or_their_organisation_keeps_none(
    shop: Shop,
) -> None:
    own = shop.organisation.pk
    for id_, organisation, age in (("old", own, "-1"), ("new", own, "60"), ("lost", 0, "60")):
        call(
            "INSERT INTO routing_response (id, organisation_id, previous_id, items, body, "
            f"expires_at) VALUES ('{id_}', {organisation}, '', '[]', '{{}}', "
            f"now() + interval '{age} s')"
        )
    assert routing.purge_responses() == 2
    organisation_keep_responses(organisation=shop.organisation, keeps=False)
    assert routing.purge_responses() == 1


def test_reconciliation_is_kept(shop: Shop) -> None:
    assert billing.reconcile() == 0
    assert ReconciliationReport.objects.get().is_balanced
    intrude("UPDATE billing_account SET held_nano = 2 WHERE kind = 'customer'")
    assert billing.reconcile() == 1
    latest = ReconciliationReport.objects.first()
    assert latest is not None
    assert "holds 2 nano" in latest.gaps[0]


def test_an_offer_that_came_due_is_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    later = timezone.now() + timedelta(hours=1)
    offer_publish(deployment=shop.deployment, price=Price(id=0, request_nano=9), effective_at=later)
    before = routing.publish_what_came_due()
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert routing.publish_what_came_due() == before + 1
    row = SnapshotRow.objects.first()
    assert row is not None
    assert row.body["deployments"][0]["price"]["request_nano"] == 9


def test_tasks_survive_their_worker_and_do_not_pile_up() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.worker_prefetch_multiplier == 1
    options = app.conf.broker_transport_options
    longest_s = max(task.time_limit for name, task in app.tasks.items() if name in registered)
    assert options["visibility_timeout"] > longest_s
    for entry in app.conf.beat_schedule.values():
        # Of set hours two may follow each other.
        every_s = 3600 if isinstance(entry["schedule"], crontab) else entry["schedule"]
        assert entry["options"]["expires"] <= every_s


@pytest.mark.parametrize("protocol", ["openai", "oip", "oip_grpc"])
async def test_a_worker_at_an_inside_address_is_not_asked(protocol: str, settings: Any) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = []
    inside = worker(1, protocol)
    inside.url = f"{'grpc' if protocol == 'oip_grpc' else 'http'}://localhost:9"
    (reading,) = await health.probe([inside])
    assert "internal address" in reading.error
