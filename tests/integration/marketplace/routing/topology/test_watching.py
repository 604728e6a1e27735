"""How routers are asked: how often, how many, and what becomes of those that fall silent."""

import pytest

from marketplace.routing.topology.polling import KEPT_S, ROUTERS_MAX
from tests.integration.marketplace.routing.topology.hearing import Routers, said

pytestmark = pytest.mark.django_db


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
