"""Workers that are drained, made and changed."""

from collections.abc import Callable

import pytest
from django.test import Client

from marketplace.catalog.models import ModelVersion, Pool, Worker
from marketplace.catalog.selectors import drain_effect
from marketplace.catalog.services import worker_drain
from marketplace.routing.trials.models import EventKind, RoutingEvent
from tests.integration.marketplace.routing.topology.hearing import Routers, said
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


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
