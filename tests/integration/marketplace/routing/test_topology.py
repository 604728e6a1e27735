"""The live topology: what is heard of routers, how it adds up, who may see it, and draining."""

import time
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import translation
from msgspec.structs import replace

from marketplace.catalog.models import ModelVersion, Pool, Worker
from marketplace.catalog.selectors import drain_effect
from marketplace.catalog.services import worker_drain
from marketplace.routing.topology import selectors
from marketplace.routing.topology.contracts import (
    EndpointState,
    EngineBatch,
    EngineExpected,
    ModelState,
    RouterState,
    WorkerState,
)
from marketplace.routing.topology.display import pools_shown
from marketplace.routing.topology.flow import ROWS_MAX, flow_of
from marketplace.routing.topology.picture import Condition, Voice, picture
from marketplace.routing.topology.polling import (
    KEPT_S,
    REFRESH_S,
    ROUTERS_MAX,
    Member,
    Unheard,
    Watch,
)
from marketplace.routing.topology.selectors import catalog_read, overview_now, topology_now
from marketplace.routing.trials.models import EventKind, RoutingEvent
from tests.integration.marketplace.config.test_pages import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.activate("en")


def said(
    *,
    in_flight: int = 0,
    waiting: int = 0,
    ended: int = 0,
    failed: int = 0,
    limit: int = 2,
    ejected_s: float = 0.0,
    version: int = 99,
    samples: int = 0,
    service_ms: float = 50.0,
    engine: EngineBatch | None = None,
    expected: EngineExpected | None = None,
) -> RouterState:
    """What a router of the shop's one worker says."""
    endpoint = EndpointState("author/slug", "fast", service_ms, samples, in_flight, expected)
    worker = WorkerState(
        "fast-0", 2, limit, in_flight, ejected_s, 3 if ejected_s else 0, (endpoint,), engine
    )
    return RouterState(
        snapshot_version=version,
        waiting=waiting,
        unsettled=0,
        workers=(worker,),
        models={"author/slug": ModelState(waiting, ended, failed)},
    )


class Routers:
    """Stand-ins for routers that say what a test wants, under its own clock."""

    def __init__(self, **states: RouterState | str) -> None:
        self.now_s = 100.0
        self.asked = 0
        self.states = states
        self.silent_members: set[str] = set()
        self.watch = Watch(
            members=self.members, fetch=self.fetch, clock=lambda: self.now_s, wall=lambda: 0.0
        )

    def members(self) -> list[Member]:
        return [
            Member(name, f"http://{name}", name not in self.silent_members) for name in self.states
        ]

    def fetch(self, member: Member) -> RouterState:
        self.asked += 1
        state = self.states[member.router_id]
        if isinstance(state, str):
            raise Unheard(state)
        return state

    def later(self, seconds: float = REFRESH_S) -> None:
        self.now_s += seconds


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Routers]:
    def put(**states: RouterState | str) -> Routers:
        routers = Routers(**states)
        monkeypatch.setattr(selectors, "WATCH", routers.watch)
        return routers

    return put


def test_watchers_share_a_reading_until_it_is_old() -> None:
    routers = Routers(left=said(), right=said())
    first = routers.watch.read()
    assert routers.watch.read() is first
    assert routers.asked == 2
    routers.later()
    assert routers.watch.read() is not first
    assert routers.asked == 4


def test_rates_are_known_from_the_second_reading_and_start_again_after_a_restart() -> None:
    routers = Routers(left=said(ended=100, failed=1))
    assert routers.watch.read().heard[0].rates is None
    routers.later(2.0)
    routers.states["left"] = said(ended=120, failed=2)
    rates = routers.watch.read().heard[0].rates
    assert rates is not None
    assert (rates["author/slug"].ended_hz, rates["author/slug"].failed_hz) == (10.0, 0.5)
    routers.later(2.0)
    routers.states["left"] = said(ended=3)
    assert routers.watch.read().heard[0].rates is None


def test_a_router_that_falls_silent_is_stale_then_unknown() -> None:
    routers = Routers(left=said(in_flight=1))
    routers.watch.read()
    routers.states["left"] = "no answer"
    routers.later(5.0)
    heard = routers.watch.read().heard[0]
    assert (heard.age_s, heard.error) == (5.0, "no answer")
    assert heard.state is not None
    routers.later(KEPT_S)
    assert routers.watch.read().heard[0].state is None


def test_no_more_routers_than_the_bound_are_asked() -> None:
    routers = Routers(**{f"r{n:02}": said() for n in range(ROUTERS_MAX + 3)})
    reading = routers.watch.read()
    assert routers.asked == ROUTERS_MAX
    assert len(reading.heard) == ROUTERS_MAX + 3
    assert "are asked" in reading.heard[-1].error


def test_several_routers_are_added_up_and_each_is_seen(
    shop: Shop, hear: Callable[..., Routers]
) -> None:
    left = said(in_flight=1, waiting=3, limit=1, samples=30, service_ms=100.0)
    hear(left=left, right=said(in_flight=1, waiting=2, limit=1, samples=10, service_ms=200.0))
    now = topology_now()
    assert (now.waiting, now.in_flight, now.slots) == (5, 2, 2)
    (queue,) = now.queues
    assert queue.by_router == (("left", 3, None), ("right", 2, None))
    (worker,) = now.pools[0].workers
    assert worker.by_router == (("left", 1), ("right", 1))
    assert worker.expected[0].service_ms == 125.0  # By their samples' weight.
    assert now.flows == (("author/slug", "fast", 2),)


@pytest.mark.parametrize(
    ("state", "row", "condition"),
    [
        (said(), {}, Condition.FREE),
        (said(in_flight=1), {}, Condition.BUSY),
        (said(in_flight=2), {}, Condition.FULL),
        (said(limit=1), {}, Condition.RAMPING),
        (said(ejected_s=4.0), {}, Condition.EJECTED),
        (said(ejected_s=4.0), {"healthy": False}, Condition.DOWN),
        (said(in_flight=1), {"draining": True}, Condition.DRAINING),
        ("away", {}, Condition.UNSEEN),
    ],
)
def test_the_condition_of_a_worker(
    shop: Shop,
    hear: Callable[..., Routers],
    state: RouterState | str,
    row: dict[str, bool],
    condition: Condition,
) -> None:
    Worker.objects.update(**row)
    hear(left=state)
    now = topology_now()
    assert now.pools[0].workers[0].condition is condition
    slots = pools_shown(now)[0].workers[0].slots
    assert len(slots) == 2
    assert slots.count("on") == now.in_flight


BATCH = EngineBatch(3, 2, 900, 12_000, has_room=True, ramping=False)
EXPECTED = EngineExpected(500, 100.0, 20.0, 0.5, 1.5, 1.0)


@pytest.mark.parametrize(
    ("engine", "condition"),
    [
        (BATCH, Condition.BUSY),
        (replace(BATCH, has_room=False), Condition.FULL),
        (replace(BATCH, ramping=True), Condition.RAMPING),
    ],
)
def test_an_engine_is_full_when_it_has_no_room_whatever_its_slots(
    shop: Shop, hear: Callable[..., Routers], engine: EngineBatch, condition: Condition
) -> None:
    hear(left=said(in_flight=5, limit=1, engine=engine, expected=EXPECTED))
    assert topology_now().pools[0].workers[0].condition is condition


def test_what_routers_have_on_an_engine_is_added_up_and_shown(
    staff: Client, shop: Shop, hear: Callable[..., Routers]
) -> None:
    other = replace(EXPECTED, first_token_ms=200.0, hit_rate=None)
    hear(
        left=said(in_flight=5, samples=30, engine=BATCH, expected=EXPECTED),
        right=said(in_flight=5, samples=10, engine=BATCH, expected=other),
    )
    (pool,) = staff.get("/api/v1/topology").json()["pools"]
    worker = pool["workers"][0]
    assert worker["engine"] == {
        "decoding": 6,
        "prompts_waiting": 4,
        "pending_tokens": 1_800,
        "context_tokens": 24_000,
        "has_room": True,
        "ramping": False,
    }
    expected = worker["expected"][0]["engine"]
    assert (expected["first_token_ms"], expected["hit_rate"]) == (125.0, 0.5)
    page = staff.get("/topology").content.decode()
    for text in (
        "6 answers in progress",
        "4 prompts wait",
        "24,000 tokens in use",
        "50.0 % of prompts",
    ):
        assert text in page
    assert "first token in 125 ms" in page
    assert 'class="slots slots-row"' not in page
    page = staff.get("/topology/workers/fast-0").content.decode()
    for text in ("1,800 tokens to read", "24,000", "50.0 %", "× 1.50", "125 ms"):
        assert text in page


def test_a_worker_with_slots_is_shown_with_its_slots(
    staff: Client, shop: Shop, hear: Callable[..., Routers]
) -> None:
    hear(left=said(in_flight=1))
    (pool,) = staff.get("/api/v1/topology").json()["pools"]
    assert pool["workers"][0]["engine"] is None
    assert 'class="slots slots-row"' in staff.get("/topology").content.decode()
    assert "KV cache" not in staff.get("/topology/workers/fast-0").content.decode()


def test_a_gone_router_counts_for_nothing(shop: Shop, hear: Callable[..., Routers]) -> None:
    routers = hear(left=said(in_flight=1), right=said(in_flight=1, waiting=4))
    topology_now()
    routers.states["right"] = "no answer"
    routers.later()
    now = topology_now()
    assert (now.is_stale, now.waiting, now.in_flight) == (True, 4, 2)
    routers.silent_members.add("right")
    routers.later()
    now = topology_now()
    assert [row.voice for row in now.routers] == [Voice.ANSWERS, Voice.GONE]
    assert (now.is_stale, now.waiting, now.in_flight) == (False, 0, 1)


def test_the_picture_is_bounded(shop: Shop, hear: Callable[..., Routers]) -> None:
    for n in range(ROWS_MAX + 5):
        pool = Pool.objects.create(name=f"pool-{n:02}", hardware="CPU", engine="test")
        Worker.objects.create(
            worker_id=f"w-{n}", pool=pool, url="http://127.0.0.1:9", protocol="oip"
        )
    hear(left=said(in_flight=1))
    flow = flow_of(topology_now())
    assert sum(box.kind == "pool" for box in flow.boxes) == ROWS_MAX
    assert "fast" in {box.name for box in flow.boxes}  # The busiest is not what is left out.
    assert flow.left_out == 6


def test_the_catalog_is_read_in_as_many_queries_however_large(
    shop: Shop, django_assert_num_queries: Callable[..., object]
) -> None:
    with django_assert_num_queries(8):
        catalog_read()
    for n in range(5):
        pool = Pool.objects.create(name=f"pool-{n}", hardware="CPU", engine="test")
        Worker.objects.create(
            worker_id=f"w-{n}", pool=pool, url="http://127.0.0.1:9", protocol="oip"
        )
    with django_assert_num_queries(8):
        catalog_read()


def test_the_page_shows_the_fleet_and_never_the_token(
    staff: Client, shop: Shop, hear: Callable[..., Routers], settings: object
) -> None:
    settings.ROUTER_ADMIN_TOKEN = "the-secret-of-routers"  # type: ignore[attr-defined]
    hear(left=said(in_flight=2, waiting=7))
    for path in ("/topology", "/topology/live"):
        text = staff.get(path).content.decode()
        assert "author/slug" in text
        assert "fast-0" in text
        assert "1 of 1 router answers" in text
        assert "the-secret-of-routers" not in text


def test_without_any_router_the_page_says_what_to_do(
    staff: Client, hear: Callable[..., Routers]
) -> None:
    hear()
    assert "No routers found." in staff.get("/topology").content.decode()
    hear(left="it answered 401")
    text = staff.get("/topology").content.decode()
    assert "No router answers." in text
    assert "it answered 401" in text


def test_stale_figures_are_shown_as_stale(staff: Client, hear: Callable[..., Routers]) -> None:
    routers = hear(left=said(in_flight=1))
    topology_now()
    routers.states["left"] = "no answer"
    routers.later(12.0)
    text = staff.get("/topology/live").content.decode()
    assert "data-is-stale" in text
    assert "12 s ago" in text


@pytest.mark.parametrize("path", ["/topology", "/topology/live", "/topology/workers/fast-0"])
def test_only_staff_look(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 302
    member = signed_in(shop.owner)
    assert member.get(path).status_code == 403
    assert member.get("/api/v1/topology").status_code == 403


def test_the_api_tells_it_all(staff: Client, shop: Shop, hear: Callable[..., Routers]) -> None:
    hear(left=said(in_flight=1, waiting=2))
    received = staff.get("/api/v1/topology").json()
    assert received["is_known"] is True
    assert received["queues"][0] | {} == received["queues"][0]
    assert (received["queues"][0]["model"], received["queues"][0]["waiting"]) == ("author/slug", 2)
    worker = received["pools"][0]["workers"][0]
    assert (worker["worker_id"], worker["condition"], worker["in_flight"]) == ("fast-0", "busy", 1)
    assert received["overview"]["calls"] == 0


def second_worker(shop: Shop) -> Worker:
    return Worker.objects.create(
        worker_id="fast-1", pool=shop.worker.pool, url="http://127.0.0.1:9/", protocol="openai"
    )


def test_draining_needs_a_reason_and_is_kept_in_the_history_of_its_routes(
    staff: Client, shop: Shop, hear: Callable[..., Routers]
) -> None:
    hear(left=said(in_flight=1))
    second_worker(shop)
    page = "/topology/workers/fast-0"
    assert "1 other worker of its pool takes calls." in staff.get(page).content.decode()
    assert staff.post(page, {"draining": "1"}).status_code == 422
    assert staff.post(page, {"draining": "1", "why": "new kernel"}).status_code == 302
    shop.worker.refresh_from_db()
    assert (shop.worker.draining, shop.worker.drain_reason) == (True, "new kernel")
    event = RoutingEvent.objects.get(kind=EventKind.DRAINED)
    assert (event.model, event.actor, event.why) == (
        "author/slug",
        "staff@example.com",
        "fast-0: new kernel",
    )
    text = staff.get(page).content.decode()
    assert "new kernel" in text
    assert "It still runs 1 request." in text
    # A page that was loaded earlier sends its intent, which must not be reversed.
    assert staff.post(page, {"draining": "1", "why": "again"}).status_code == 409
    assert staff.post(page, {"draining": "0"}).status_code == 302
    shop.worker.refresh_from_db()
    assert (shop.worker.draining, shop.worker.drain_reason) == (False, "")
    assert RoutingEvent.objects.filter(kind=EventKind.UNDRAINED).count() == 1


def test_the_last_worker_of_a_model_is_drained_only_when_that_is_confirmed(
    staff: Client, shop: Shop, hear: Callable[..., Routers]
) -> None:
    hear(left=said())
    page = "/topology/workers/fast-0"
    assert "It is the last one." in staff.get(page).content.decode()
    refused = staff.post(page, {"draining": "1", "why": "x"})
    assert refused.status_code == 422
    assert "No worker would be left for author/slug" in refused.content.decode()
    assert staff.post(page, {"draining": "1", "why": "x", "confirmed": "on"}).status_code == 302
    # One that is down or drained does not count as another.
    other = second_worker(shop)
    worker_drain(worker=shop.worker, draining=False)
    Worker.objects.filter(pk=other.pk).update(healthy=False)
    assert staff.post(page, {"draining": "1", "why": "x"}).status_code == 422


def test_a_worker_that_does_not_speak_the_models_protocol_is_no_other(
    shop: Shop, staff: Client
) -> None:
    pool = shop.worker.pool
    Worker.objects.create(worker_id="t-0", pool=pool, url="http://127.0.0.1:9", protocol="oip")
    effect = drain_effect(shop.worker)
    assert (effect.left_alone, effect.others) == (("author/slug",), 0)
    assert drain_effect(Worker.objects.get(worker_id="t-0")).models == ()


def test_another_pool_of_the_model_is_enough(shop: Shop, staff: Client) -> None:
    pool = Pool.objects.create(name="slow", hardware="CPU", engine="test")
    Worker.objects.create(
        worker_id="slow-0", pool=pool, url="http://127.0.0.1:9", protocol="openai"
    )
    version = ModelVersion.objects.get()
    version.deployments.create(provider=shop.provider, pool=pool, upstream_model="slug")
    worker_drain(worker=shop.worker, draining=True, why="there is another")
    assert Worker.objects.get(worker_id="fast-0").draining


def test_workers_are_drained_over_the_api(staff: Client, shop: Shop) -> None:
    path = f"/api/v1/workers/{shop.worker.pk}"
    refused = staff.patch(path, {"draining": True, "why": "x"}, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "confirmed"
    body = {"draining": True, "why": "x", "confirmed": True}
    drained = staff.patch(path, body, content_type="application/json").json()
    assert (drained["draining"], drained["drain_reason"]) == (True, "x")
    assert "url" not in Client().get(path).json()


def test_pools_and_workers_are_made_and_changed_over_the_api(staff: Client, shop: Shop) -> None:
    json = {"content_type": "application/json"}
    pool = {"name": "new", "hardware": "NVIDIA L4", "engine": "vLLM"}
    assert staff.post("/api/v1/pools", pool, **json).status_code == 201
    assert staff.post("/api/v1/pools", pool, **json).status_code == 400
    cost = staff.patch("/api/v1/pools/new", {"cost_nano_per_hour": 7}, **json).json()
    assert cost["cost_nano_per_hour"] == 7
    assert staff.patch("/api/v1/pools/new", {"emulated": True}, **json).status_code == 400
    worker = {"worker_id": "new-0", "pool": "new", "url": "http://127.0.0.1:9", "protocol": "oip"}
    made = staff.post("/api/v1/workers", worker, **json)
    assert made.status_code == 201
    path = f"/api/v1/workers/{made.json()['id']}"
    assert staff.patch(path, {"slots": 0}, **json).status_code == 400
    assert staff.patch(path, {"slots": 3}, **json).json()["slots"] == 3
    bad = staff.post("/api/v1/workers", {**worker, "worker_id": "b", "url": "ftp://x"}, **json)
    assert bad.json()["errors"][0]["field"] == "url"
    member = signed_in(shop.owner)
    assert member.post("/api/v1/pools", pool, **json).status_code == 403
    assert member.post("/api/v1/workers", worker, **json).status_code == 403


def test_the_picture_of_nothing(db: None) -> None:
    now = picture(Routers().watch.read(), catalog_read())
    assert not now.is_known
    assert flow_of(now).boxes == ()


def test_calls_that_hung_for_a_minute_count_when_they_end(shop: Shop) -> None:
    begun_ms = int(time.time() * 1000) - 61_000
    for _ in range(3):
        settled_call(shop, created_at_ms=begun_ms, outcome="worker_failed", total_ms=61_000.0)
    assert overview_now().figures.is_failing


def test_one_failed_call_is_no_alarm_and_callers_mistakes_are_apart(shop: Shop) -> None:
    for outcome in ("completed", "refused", "refused", "client_gone", "worker_failed"):
        settled_call(shop, outcome=outcome)
    figures = overview_now().figures
    assert (figures.calls, figures.failed, figures.refused, figures.completed) == (5, 1, 2, 1)
    assert not figures.is_failing
    for _ in range(2):
        settled_call(shop, outcome="worker_failed")
    assert overview_now().figures.is_failing
