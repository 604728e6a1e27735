"""Which server of an agent is which part of a gang: after restarts, changes and replaced hosts."""

import pytest
from rest_framework.test import APIClient

from marketplace.agents.models import Agent
from marketplace.agents.services import agent_revoke
from marketplace.catalog.models import Pool, Worker
from tests.integration.marketplace.agents.reporting import RANKS, READY, beat, is_routed, registered
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db

ELSEWHERE = "http://10.0.0.9:8000"


@pytest.mark.parametrize("is_gone", [False, True], ids=["at once", "after a while"])
def test_a_gang_that_has_changed_version_survives_that_its_agents_start_again(
    gang: list[APIClient], is_gone: bool
) -> None:
    following = [{**one, "name": "b", "gang": "big-2"} for one in RANKS]
    for agent, report in zip(gang, following, strict=True):
        assert beat(agent, report).status_code == 200
    assert is_routed("big-2")
    # An agent that starts gives its server the first free name.
    for agent, report in zip(gang, following, strict=True):
        if is_gone:
            beat(agent)
        answer = beat(agent, {**report, "name": "a"})
        assert answer.status_code == 200, answer.content
        (word,) = answer.json()["workers"]
        assert (word["name"], word["worker_id"]) == ("a", "big-2")
    assert (is_routed(), is_routed("big-2")) == (False, True)


def test_two_parts_may_change_names(gang: list[APIClient]) -> None:
    for names in ("ab", "ba"):
        reports = [
            {**RANKS[0], "name": name, "gang": called}
            for name, called in zip(names, ("big-2", "big-3"), strict=True)
        ]
        words = beat(gang[0], *reports).json()["workers"]
        assert [word["worker_id"] for word in words] == ["big-2", "big-3"]
        assert [word["name"] for word in words] == list(names)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_part_that_starts_again_as_a_single_server_is_a_worker_of_its_own(
    gang: list[APIClient], rank: int
) -> None:
    assert is_routed()
    url = Worker.objects.get(worker_id="big").url
    for _ in range(2):
        (word,) = beat(gang[rank], {**READY, "url": ELSEWHERE}).json()["workers"]
        assert word["worker_id"] == f"gpu-{rank}-a"
        assert Worker.objects.get(worker_id=f"gpu-{rank}-a").url == ELSEWHERE
        big = Worker.objects.get(worker_id="big")
        assert (big.url, big.gang_size, big.draining) == (url, 3, True)
        assert beat(gang[rank], RANKS[rank]).status_code == 200
        assert is_routed()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_new_host_takes_over_the_rank_of_an_agent_that_was_revoked(
    gang: list[APIClient], shop: Shop, rank: int
) -> None:
    assert is_routed()
    new, report = registered(shop, "new"), {**RANKS[rank], "url": ELSEWHERE}
    assert beat(new, report).status_code == 400, "the other one runs it"
    agent_revoke(agent=Agent.objects.get(name=f"gpu-{rank}"))
    assert not is_routed()
    assert beat(new, report).status_code == 200
    assert is_routed()
    assert (Worker.objects.get(worker_id="big").url == ELSEWHERE) == (rank == 0)


def test_a_gang_of_another_pool_is_not_taken_over(gang: list[APIClient], shop: Shop) -> None:
    agent_revoke(agent=Agent.objects.get(name="gpu-0"))
    slow = Pool.objects.create(name="slow", hardware="h200", engine="vllm")
    assert beat(registered(shop, "new", slow), RANKS[0]).status_code == 400


def test_one_rank_is_not_reported_twice(shop: Shop) -> None:
    assert beat(registered(shop), RANKS[0], {**RANKS[0], "name": "b"}).status_code == 400
