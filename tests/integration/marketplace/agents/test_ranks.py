"""Which server of an agent is which part of a gang: after restarts, changes and replaced hosts."""

import pytest
from rest_framework.test import APIClient

from tests.integration.marketplace.agents.test_agents import (
    RANKS,
    beat,
    gang,
    is_routed,
    registered,
    shop,
)
from tests.integration.marketplace.shop import Shop

__all__ = ["gang", "shop"]

pytestmark = pytest.mark.django_db


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


def test_one_rank_is_not_reported_twice(shop: Shop) -> None:
    assert beat(registered(shop), RANKS[0], {**RANKS[0], "name": "b"}).status_code == 400
