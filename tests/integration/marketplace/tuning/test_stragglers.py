"""Workers that stray from their peers are named, and cleared when they are back."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from marketplace.routing.trials.models import (
    Straggler,
)
from marketplace.tuning import tasks
from marketplace.tuning.stragglers.watch import stragglers_watch
from tests.integration.marketplace.ledger import intrude
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.tuning.looping import (
    around,
    calls,
    peers,
    second_deployment,
)

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_worker_that_strays_is_named_once_and_cleared_when_it_is_back(shop: Shop) -> None:
    peers(shop)
    for number in range(3):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}", ago_s=200)
    considered = {"fast-1": 100.0, "fast-2": 100.0}
    calls(shop.deployment, around(400.0, 8, 7), expected_ms=350.0, others=considered)
    for number in (1, 2):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}")
    assert tasks.watch_stragglers() == 1
    straggler = Straggler.objects.get()
    assert straggler.worker == shop.worker
    evidence = straggler.evidence
    assert 2.5 < evidence["ratio"] < 6
    assert evidence["low"] > 1.5
    assert evidence["share_before"] == pytest.approx(1 / 3)
    assert evidence["share_now"] == pytest.approx(8 / 88)
    assert evidence["expected_ratio"] == pytest.approx(3.5, rel=0.3)
    assert tasks.watch_stragglers() == 1
    assert Straggler.objects.count() == 1
    intrude("DELETE FROM usage_event")
    for number in range(3):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}")
    assert stragglers_watch() == []
    straggler.refresh_from_db()
    assert straggler.cleared_at is not None


def test_a_worker_that_the_router_avoids_is_named_by_what_it_expects(shop: Shop) -> None:
    peers(shop)
    slow = {"fast-0": 400.0, "fast-2": 100.0}
    calls(shop.deployment, around(100.0, 15, 1), worker="fast-1", expected_ms=100, others=slow)
    assert tasks.watch_stragglers() == 0, "too few decisions"
    calls(shop.deployment, around(100.0, 15, 2), worker="fast-1", expected_ms=100, others=slow)
    assert tasks.watch_stragglers() == 1
    straggler = Straggler.objects.get()
    assert straggler.worker == shop.worker
    assert straggler.evidence["ratio"] == pytest.approx(4, rel=0.3)
    assert straggler.evidence["low"] is None
    assert straggler.evidence["share_now"] == 0
    intrude("DELETE FROM usage_event")
    alike = {"fast-0": 100.0, "fast-2": 100.0}
    calls(shop.deployment, around(100.0, 30, 3), worker="fast-1", expected_ms=100, others=alike)
    assert stragglers_watch() == []


def test_a_pool_that_is_alike_names_nobody(shop: Shop) -> None:
    peers(shop)
    for number in range(3):
        times = around(100.0, 60, number, spread=1.0)
        calls(shop.deployment, times, worker=f"fast-{number}")
    assert tasks.watch_stragglers() == 0


def test_a_round_reads_the_candidates_of_calls_once_for_all_deployments(shop: Shop) -> None:
    peers(shop)
    calls(shop.deployment, around(100.0, 30), worker="fast-1")
    calls(second_deployment(shop), around(100.0, 30), worker="slow-0")
    with CaptureQueriesContext(connection) as asked:
        stragglers_watch()
    assert sum("u.candidates" in query["sql"] for query in asked) == 1
