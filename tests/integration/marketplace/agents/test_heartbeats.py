"""What agents report of their workers, and what is refused."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.agents import services
from marketplace.agents.models import Agent
from marketplace.catalog import tasks
from marketplace.catalog.models import Worker
from marketplace.catalog.services import HealthReading, worker_drain
from marketplace.catalog.tasks import probe_workers
from marketplace.routing.models import SnapshotRow
from marketplace.routing.services import snapshot_publish
from marketplace.routing.topology.contracts import RouterState, WorkerState
from marketplace.routing.topology.polling import Heard, Member, Reading
from tests.integration.marketplace.agents.reporting import READY, beat, registered
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


def test_two_hosts_of_the_same_name_are_two_agents(shop: Shop) -> None:
    registered(shop)
    registered(shop)
    assert set(Agent.objects.values_list("name", flat=True)) == {"gpu", "gpu-2"}


def test_a_ready_server_is_a_worker_once_the_prober_has_found_it(shop: Shop) -> None:
    agent = registered(shop)
    (word,) = beat(agent, READY).json()["workers"]
    told = {"name": "a", "worker_id": "gpu-a", "routable": False, "in_flight": None, "fault": ""}
    assert word == told
    row = Worker.objects.get(worker_id="gpu-a")
    assert (row.pool.name, row.url, row.slots) == ("fast", "http://10.0.0.5:8000", 64)
    Worker.objects.update(healthy=True)
    assert beat(agent, READY).json()["workers"][0]["routable"]
    beat(agent, {**READY, "slots": 32})
    row.refresh_from_db()
    assert row.slots == 32


def test_an_agent_drains_and_takes_back_only_what_it_drained_itself(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, READY)
    row = Worker.objects.get(worker_id="gpu-a")
    for said in ({**READY, "state": "draining"}, None):
        beat(agent, *([said] if said else []))
        row.refresh_from_db()
        assert row.draining
        beat(agent, READY)
        row.refresh_from_db()
        assert not row.draining
    worker_drain(worker=row, draining=True, why="staff", confirmed=True)
    beat(agent, READY)
    row.refresh_from_db()
    assert (row.draining, row.drain_reason) == (True, "staff")


def test_a_server_that_is_down_says_why(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, {**READY, "state": "down", "error": "GET /health: HTTP 503"})
    row = Worker.objects.get(worker_id="gpu-a")
    assert row.reported_error == "GET /health: HTTP 503"
    beat(agent, READY)
    row.refresh_from_db()
    assert (row.reported_error, row.reported_at is not None) == ("", True)


def test_an_agent_that_drains_is_told_what_routers_still_run_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watch:
        def read(self) -> Reading:
            newest = SnapshotRow.objects.values_list("version", flat=True).first() or 0
            state = RouterState(newest, 0, 0, (WorkerState("gpu-a", 64, 64, 3, 0.0, 0),))
            return Reading((Heard(Member("r", "http://r", True), state, 0.0),), 0.0)

    monkeypatch.setattr(services, "WATCH", Watch())
    agent = registered(shop)
    snapshot_publish()
    (word,) = beat(agent, {**READY, "state": "draining"}).json()["workers"]
    assert (word["routable"], word["in_flight"]) == (False, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "nonsense"},
        {"slots": 0},
        {"slots": 10_001},
        {"name": "A B"},
        {"state": "gone"},
        {"protocol": "http"},
    ],
)
def test_a_report_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, object]) -> None:
    agent = registered(shop)
    assert beat(agent, {**READY, **wrong}).status_code == 400
    assert beat(agent, READY, READY).status_code == 400
    assert beat(agent, *({**READY, "name": str(n)} for n in range(9))).status_code == 400
    assert not Worker.objects.filter(worker_id__startswith="gpu").exists()


def test_a_worker_of_somebody_else_is_not_taken_over(shop: Shop) -> None:
    agent = registered(shop, "fast")
    answer = beat(agent, {**READY, "name": "0"})
    assert answer.status_code == 400
    assert "--name" in answer.content.decode()
    shop.worker.refresh_from_db()
    assert shop.worker.url == "http://127.0.0.1:9/"


def test_a_revoked_agent_is_refused_and_its_workers_get_nothing_new(shop: Shop) -> None:
    agent = registered(shop)
    beat(agent, READY)
    owner = APIClient()
    owner.force_login(shop.owner)
    pk = Agent.objects.get().pk
    assert owner.delete(f"/api/v1/agents/{pk}").status_code == 204
    assert Worker.objects.get(worker_id="gpu-a").draining
    assert beat(agent, READY).status_code == 401
    assert owner.get(f"/api/v1/agents/{pk}").json()["revoked_at"]


@pytest.mark.parametrize("first_silent_s", [16, 21, 26])
def test_a_prober_that_is_cut_off_takes_no_worker_away_though_one_fell_silent_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, first_silent_s: int
) -> None:
    async def reaches_nobody(workers: list[Worker]) -> list[HealthReading]:
        return [HealthReading(row.pk, "ConnectTimeout", reached=False) for row in workers]

    monkeypatch.setattr(tasks, "probe", reaches_nobody)
    for number, name in enumerate(("gpu-0", "gpu-1")):
        beat(registered(shop, name), {**READY, "url": f"http://10.0.0.{number}:8000"})
    Worker.objects.exclude(url__startswith="http://10.").delete()
    for elapsed_s in (0, 5, 10, 15, 20, 25):
        now = timezone.now()
        for name, silent_s in (("gpu-0-a", first_silent_s), ("gpu-1-a", 11)):
            Worker.objects.filter(worker_id=name).update(
                reported_at=now - timedelta(seconds=silent_s + elapsed_s),
                reports_since=now - timedelta(minutes=5),
                **({"healthy": True, "health_checked_at": now} if not elapsed_s else {}),
            )
        probe_workers()
        assert Worker.objects.filter(healthy=True).count() == 2, elapsed_s
