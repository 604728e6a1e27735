"""What is measured unasked: each night, and when something is new."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from django.db import connection
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.runs.fingerprint import fingerprint
from marketplace.benchmarks.runs.idle_slots import Traffic
from marketplace.benchmarks.runs.live_traffic import traffic_on
from marketplace.benchmarks.runs.schedule import (
    CHANGES_PER_HOUR,
    lacking_request,
    nightly_request,
)
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_the_night_measures_each_deployment_once(shop: Shop) -> None:
    assert [row.deployment for row in nightly_request()] == [shop.deployment]
    assert nightly_request() == []


def test_the_night_reaches_the_slots_of_every_worker(shop: Shop) -> None:
    for number in range(1, 8):
        Worker.objects.create(
            worker_id=f"fast-{number}",
            pool=shop.deployment.pool,
            url="http://127.0.0.1:9",
            protocol="openai",
            slots=8,
        )
    (asked,) = nightly_request()
    assert asked.plan.loads == (1, 8, 16, 32, 64)
    chosen = benchmark_request(
        model=shop.model,
        target="deployment",
        deployment=shop.deployment,
        settings={"loads": [3]},
    )
    assert chosen.plan.loads == (3,)


def test_what_is_new_is_measured_once_and_again_when_it_changes(shop: Shop) -> None:
    (asked,) = lacking_request()
    assert (asked.trigger, asked.reason) == ("change", "never measured")
    assert lacking_request() == []
    asked.state, asked.ended_at = JobState.SUCCEEDED, timezone.now()
    asked.fingerprint = fingerprint(shop.deployment, [shop.worker])
    asked.save()
    assert lacking_request() == []
    shop.deployment.pool.hardware = "GPU"
    shop.deployment.pool.save()
    (again,) = lacking_request()
    assert again.reason == "changed: hardware"
    again.state, again.ended_at = JobState.FAILED, timezone.now()
    again.save()
    assert lacking_request() == []


def others_of(shop: Shop, count: int) -> list[Deployment]:
    made = []
    for number in range(count):
        pool = Pool.objects.create(name=f"more-{number}", hardware="CPU", engine="any")
        Worker.objects.create(
            worker_id=f"more-{number}", pool=pool, url="http://127.0.0.1:9", protocol="openai"
        )
        made.append(
            Deployment.objects.create(
                version=shop.deployment.version,
                provider=shop.provider,
                pool=pool,
                upstream_model="x",
            )
        )
    return made


def test_a_fresh_installation_is_measured_bit_by_bit_the_newest_first(shop: Shop) -> None:
    more = others_of(shop, 6)
    asked: list[Benchmark] = []
    for _look in range(10):
        found = lacking_request()
        assert len(found) <= 1
        asked += found
        Benchmark.objects.filter(pk__in=[result.pk for result in found]).update(
            state=JobState.CANCELLED, ended_at=timezone.now()
        )
        assert Benchmark.objects.filter(state=JobState.QUEUED).count() == 0
    assert [benchmark.deployment for benchmark in asked] == more[::-1][:CHANGES_PER_HOUR]
    Benchmark.objects.update(created_at=timezone.now() - timedelta(hours=2))
    (later,) = lacking_request()
    assert later.deployment == more[::-1][CHANGES_PER_HOUR]
    # One at a time: it waits still.
    assert lacking_request() == []


def test_what_is_known_waits_for_what_was_never_measured(shop: Shop) -> None:
    (other,) = others_of(shop, 1)
    done = benchmark_request(model=shop.model, target="deployment", deployment=shop.deployment)
    done.state, done.ended_at = JobState.SUCCEEDED, timezone.now()
    done.fingerprint = {"digest": "abc", "hardware": "CPU", "version": "0"}
    done.save()
    Deployment.objects.filter(pk=other.pk).update(status="paused")
    (again,) = lacking_request()
    assert (again.deployment, again.reason) == (shop.deployment, "new model version 1")
    again.delete()
    Deployment.objects.filter(pk=other.pk).update(status="live")
    (first,) = lacking_request()
    assert (first.deployment, first.reason) == (other, "never measured")


def test_nothing_is_measured_unasked_where_somebody_calls(shop: Shop, settings: Any) -> None:
    settings.ROUTER_ADMIN_TOKEN = "t"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        # It takes the connection, and has no time to answer.
        join("busy", f"http://127.0.0.1:{busy.getsockname()[1]}")
        assert traffic_on([shop.worker.worker_id]).waiting
        assert lacking_request() == []
    assert traffic_on([shop.worker.worker_id]) == Traffic()
    assert len(lacking_request()) == 1


def test_a_router_that_takes_no_connection_in_time_is_busy(
    shop: Shop, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ROUTER_ADMIN_TOKEN = "t"
    join("cut off", "http://127.0.0.1:9")

    def cut_off(*_: object, **__: object) -> None:
        raise httpx.ConnectTimeout("timed out")

    monkeypatch.setattr(httpx, "get", cut_off)
    assert traffic_on([shop.worker.worker_id]).waiting


def test_of_the_routers_calls_those_beyond_the_benchmarks_own_are_others(
    shop: Shop, settings: Any
) -> None:
    workers = [{"id": shop.worker.worker_id, "in_flight": 5}, {"id": "another", "in_flight": 9}]
    settings.ROUTER_ADMIN_TOKEN = "t"
    with state_server({"workers": workers, "waiting": 2}) as url:
        for router_id in ("left", "right"):
            join(router_id, url)
        join("gone", url, "-1 s")
        assert traffic_on([shop.worker.worker_id]) == Traffic(10, 4)
        assert traffic_on([shop.worker.worker_id], own=4) == Traffic(10)
        assert traffic_on([shop.worker.worker_id], own=14) == Traffic()


def join(router_id: str, url: str, expires_in: str = "60 s") -> None:
    """Make a router a member."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO routing_router (router_id, url, demands, expires_at) "
            "VALUES (%s, %s, '{}', clock_timestamp() + %s::interval)",
            [router_id, url, expires_in],
        )


@contextmanager
def state_server(state: dict[str, Any]) -> Iterator[str]:
    """A router's ``/admin/state`` that says this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(state).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
