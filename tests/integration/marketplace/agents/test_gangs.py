"""Gangs: several agents whose ranks are one worker."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import User
from marketplace.catalog.models import Worker, WorkerMember
from marketplace.catalog.tasks import probe_workers
from tests.integration.marketplace.agents.reporting import RANKS, beat, is_routed, registered
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


def test_a_gang_is_one_worker_that_is_routed_once_all_its_ranks_are_up(
    gang: list[APIClient], shop: Shop
) -> None:
    assert is_routed()
    assert Worker.objects.filter(worker_id="big").count() == 1
    assert WorkerMember.objects.filter(worker__worker_id="big", healthy=True).count() == 2


def test_a_gang_that_lacks_a_rank_is_not_routed(shop: Shop, gang: list[APIClient]) -> None:
    WorkerMember.objects.filter(rank=2).delete()
    assert not is_routed()
    assert (
        "2 of 3 members are up; rank 2: it is missing"
        in Worker.objects.get(worker_id="big").health_error
    )
    beat(gang[2], RANKS[2])
    assert is_routed()


def test_a_gang_falls_as_one_and_at_once(gang: list[APIClient]) -> None:
    assert is_routed()
    beat(gang[1], {**RANKS[1], "state": "down", "error": "it ended with status 1"})
    assert not is_routed()
    beat(gang[1], RANKS[1])
    assert is_routed()
    long_ago = timezone.now() - timedelta(minutes=1)
    WorkerMember.objects.filter(rank=2).update(reported_at=long_ago)
    assert is_routed(), "the first rank is heard for a moment only: the pages may have been deaf"
    Worker.objects.update(reports_since=long_ago)
    assert not is_routed()


def test_a_gang_drains_as_one_and_returns_when_all_are_back(gang: list[APIClient]) -> None:
    assert is_routed()
    (word,) = beat(gang[2], {**RANKS[2], "state": "draining"}).json()["workers"]
    assert (word["worker_id"], word["routable"]) == ("big", False)
    assert not is_routed()
    beat(gang[0], RANKS[0])
    beat(gang[2])
    assert not is_routed()
    beat(gang[2], RANKS[2])
    assert is_routed()


def test_a_next_gang_beside_it_is_routed_once_whole_and_the_old_one_drains_as_one(
    gang: list[APIClient],
) -> None:
    assert is_routed()
    following = [{**one, "name": "b", "gang": "big-2", "model_version": "2"} for one in RANKS]

    def both(rank: int, old: str = "ready") -> list[dict[str, Any]]:
        reports = [{**RANKS[rank], "state": old}, following[rank]]
        return list(beat(gang[rank], *reports).json()["workers"])

    both(0)
    both(1)
    assert (is_routed(), is_routed("big-2")) == (True, False)
    assert "rank 2: it is missing" in both(1)[1]["fault"]
    both(2)
    assert (is_routed(), is_routed("big-2")) == (True, True)
    assert both(0)[1]["routable"]
    both(0, "draining")
    assert [word["routable"] for word in both(1)] == [False, True]
    assert (is_routed(), is_routed("big-2")) == (False, True)
    for rank in range(3):
        beat(gang[rank], following[rank])
    # The third version takes the first one's names, and not its worker.
    third = [{**one, "gang": "big-3"} for one in RANKS]
    for rank in range(3):
        assert beat(gang[rank], third[rank], following[rank]).status_code == 200
    assert is_routed("big-3")
    assert not is_routed()


def test_a_rank_before_the_first_is_told_to_wait(shop: Shop) -> None:
    early = registered(shop, "gpu-1")
    assert beat(early, RANKS[1]).json()["workers"] == []
    beat(registered(shop, "gpu-0"), RANKS[0])
    assert beat(early, RANKS[1]).json()["workers"][0]["worker_id"] == "big"


def test_a_rank_belongs_to_one_agent(shop: Shop, gang: list[APIClient]) -> None:
    late = registered(shop, "late")
    assert "runs rank 1 of big" in beat(late, RANKS[1]).content.decode()
    assert "no rank 3" in beat(late, {**RANKS[1], "gang_size": 4, "rank": 3}).content.decode()
    for wrong in ({"rank": 3}, {"gang": ""}, {"gang_size": 1}, {"gang": "A B"}):
        assert beat(late, {**RANKS[1], **wrong}).status_code == 400


def test_the_pages_show_the_ranks_of_a_gang(gang: list[APIClient]) -> None:
    beat(gang[1], {**RANKS[1], "state": "down", "error": "it ended with status 1"})
    probe_workers()
    staff = signed_in(User.objects.create_user("staff@example.com", is_staff=True))
    assert "gang, 2 of 3 up" in staff.get("/topology").content.decode()
    assert "it ended with status 1" in staff.get("/topology/workers/big").content.decode()
    assert "rank 1 of 3" in staff.get("/pools/fast/workers").content.decode()
