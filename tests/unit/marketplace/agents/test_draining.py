"""Whether a drained worker is empty: only where every router says so."""

from marketplace.agents.draining import running_on
from marketplace.routing.topology.contracts import RouterState, WorkerState
from marketplace.routing.topology.polling import Heard, Member, Reading

VERSION = 7


def heard(in_flight: int, *, version: int = VERSION, beats: bool = True, error: str = "") -> Heard:
    worker = WorkerState("w", 1, 1, in_flight, 0.0, 0)
    state = RouterState(version, 0, 0, (worker,))
    return Heard(Member("r", "http://r", beats), state, 0.0, error)


def running(*routers: Heard) -> int | None:
    return running_on("w", Reading(routers, 0.0), VERSION)


def test_the_calls_of_all_routers_are_added_up() -> None:
    assert running(heard(2), heard(1)) == 3
    assert running(heard(0), heard(0, version=VERSION + 1)) == 0


def test_one_that_is_silent_or_behind_may_still_send_a_call() -> None:
    assert running(heard(0), heard(0, version=VERSION - 1)) is None
    assert running(heard(0), heard(0, error="no answer within 1 s")) is None
    silent = Heard(Member("r", "http://r", True), None, 0.0, "no answer")
    assert running(heard(0), silent) is None


def test_one_that_is_gone_sends_none() -> None:
    assert running(heard(0), heard(3, version=1, beats=False)) == 0


def test_without_a_router_nothing_is_known() -> None:
    assert running() is None
