"""How what routers say adds up to one picture."""

import time
from collections.abc import Callable

import pytest
from django.test import Client
from msgspec.structs import replace

from marketplace.catalog.models import Pool, Worker
from marketplace.routing.topology.contracts import EngineBatch, EngineExpected, RouterState
from marketplace.routing.topology.display import pools_shown
from marketplace.routing.topology.flow import ROWS_MAX, flow_of
from marketplace.routing.topology.picture import Condition, Voice, picture
from marketplace.routing.topology.selectors import catalog_read, overview_now, topology_now
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.routing.topology.hearing import Routers, said
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


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
