"""Which server is started, drained or stopped next."""

import itertools
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workers.agent.launch import meeting_port
from workers.agent.lifecycle import (
    BACKOFF_MAX_S,
    NAMES,
    QUIET_S,
    RESTART_AFTER_S,
    Drain,
    Phase,
    Server,
    Start,
    Stop,
    Wanted,
    backoff_s,
    change_refused,
    next_steps,
)
from workers.agent.settings import EngineSpec

OLD = EngineSpec("vllm", model="m", model_version="1", command=("serve", "{port}"))
NEW = replace(OLD, model_version="2")
WANTED = Wanted(OLD, drain_s=60.0, start_timeout_s=100.0)
LEAVING = replace(WANTED, spec=None)
READY = Server("a", OLD, Phase.READY, since_s=0.0, routable=True)
DRAINING = Server("a", OLD, Phase.DRAINING, since_s=0.0, told=True)


def test_a_server_is_started_where_there_is_none() -> None:
    assert next_steps([], WANTED, 0.0) == [Start("a", OLD)]
    assert next_steps([READY], WANTED, 1.0) == []


def test_a_new_version_is_up_and_takes_calls_before_the_old_one_drains() -> None:
    wanted = replace(WANTED, spec=NEW)
    assert next_steps([READY], wanted, 1.0) == [Start("b", NEW)]
    for new in (
        Server("b", NEW, Phase.STARTING, 1.0),
        Server("b", NEW, Phase.READY, 2.0),
        Server("b", NEW, Phase.DOWN, 2.0, routable=True),
    ):
        assert next_steps([READY, new], wanted, 3.0) == []
    new = Server("b", NEW, Phase.READY, 2.0, routable=True)
    assert next_steps([READY, new], wanted, 3.0) == [Drain("a")]


def test_a_new_version_that_does_not_come_up_leaves_the_old_one_alone() -> None:
    wanted = replace(WANTED, spec=NEW)
    new = Server("b", NEW, Phase.STARTING, 0.0)
    (step,) = next_steps([READY, new], wanted, 100.0)
    assert step == Stop("b", "it was not ready after 100 s", failed=True)
    assert next_steps([READY], replace(wanted, not_before_s=110.0), 101.0) == []


def test_a_new_version_that_the_marketplace_does_not_take_stops_at_once() -> None:
    new = Server("b", NEW, Phase.READY, 2.0, refused=True)
    assert next_steps([READY, new], WANTED, 3.0) == [Stop("b", "the marketplace does not take it")]


GANG = replace(OLD, gang="big", gang_size=2, rank=1)
NEXT_GANG = replace(GANG, gang="big-2", model_version="2")


def test_a_part_of_a_gang_drains_once_the_next_gang_takes_calls() -> None:
    wanted = replace(WANTED, spec=NEXT_GANG)
    old = replace(READY, spec=GANG)
    assert next_steps([old], wanted, 1.0) == [Start("b", NEXT_GANG)]
    new = Server("b", NEXT_GANG, Phase.READY, 2.0)
    assert next_steps([old, new], wanted, 101.0) == []
    assert next_steps([old, replace(new, routable=True)], wanted, 3.0) == [Drain("a")]


def test_a_next_gang_that_lacks_a_part_is_given_up_and_says_what_is_missing() -> None:
    wanted = replace(WANTED, spec=NEXT_GANG)
    old = replace(READY, spec=GANG)
    new = Server("b", NEXT_GANG, Phase.READY, 2.0, fault="1 of 2 members are up; rank 0: down")
    (step,) = next_steps([old, new], wanted, 102.0)
    assert isinstance(step, Stop)
    assert (step.name, step.failed) == ("b", True)
    assert "1 of 2 members are up; rank 0: down" in step.why
    (step,) = next_steps([old, replace(new, fault="")], wanted, 102.0)
    assert "rank 0 is not up" in str(step)
    assert next_steps([new], wanted, 500.0) == [], "where nothing else serves, it is waited for"


def test_a_gang_that_is_wanted_again_while_it_drains_starts_once_that_is_over() -> None:
    wanted = replace(WANTED, spec=GANG)
    new = Server("b", NEXT_GANG, Phase.READY, 2.0, routable=True)
    assert next_steps([replace(DRAINING, spec=GANG), new], wanted, 3.0) == []
    assert next_steps([new], wanted, 4.0) == [Start("a", GANG)]


def test_gangs_beside_each_other_need_names_and_ports_of_their_own() -> None:
    assert change_refused([GANG], NEXT_GANG) == ""
    assert change_refused([GANG], GANG) == ""
    assert change_refused([OLD], GANG) == change_refused([OLD], NEW) == ""
    assert "another --gang" in change_refused([GANG], replace(GANG, model_version="2"))
    alike = next(
        f"g{number}"
        for number in itertools.count()
        if meeting_port(f"g{number}") == meeting_port("big")
    )
    assert "at one port" in change_refused([GANG], replace(GANG, gang=alike))


def test_an_agent_that_leaves_drains_what_is_up_and_stops_what_only_starts() -> None:
    starting = Server("b", NEW, Phase.STARTING, 0.0)
    drain, stop = next_steps([READY, starting], LEAVING, 1.0)
    assert drain == Drain("a")
    assert isinstance(stop, Stop)
    assert stop.name == "b"


def test_a_drained_server_stops_at_once_where_every_router_says_that_it_is_empty() -> None:
    empty = replace(DRAINING, in_flight=0, running=0, idle_since_s=5.0)
    assert [step.name for step in next_steps([empty], LEAVING, 5.0)] == ["a"]


def test_where_the_routers_cannot_say_it_must_be_quiet_for_a_while() -> None:
    quiet = replace(DRAINING, running=0, idle_since_s=5.0)
    assert next_steps([quiet], LEAVING, 5.0 + QUIET_S / 2) == []
    assert len(next_steps([quiet], LEAVING, 5.0 + QUIET_S)) == 1


def test_what_runs_is_waited_for_and_no_longer_than_said() -> None:
    busy = replace(DRAINING, in_flight=0, running=1)
    assert next_steps([busy], LEAVING, 59.0) == []
    assert next_steps([busy], LEAVING, 60.0) == [Stop("a", "it drained for 60 s")]


def test_nobody_who_can_say_is_not_taken_for_empty() -> None:
    assert not DRAINING.is_idle
    assert not replace(DRAINING, told=False, in_flight=0, running=0).is_idle


def test_a_silent_server_is_restarted_unless_it_was_adopted() -> None:
    down = Server("a", OLD, Phase.DOWN, 0.0)
    assert next_steps([down], WANTED, RESTART_AFTER_S - 1) == []
    (step,) = next_steps([down], WANTED, RESTART_AFTER_S)
    assert isinstance(step, Stop)
    assert step.failed
    adopted = replace(OLD, adopt="http://127.0.0.1:1", command=())
    theirs = Server("a", adopted, Phase.DOWN, 0.0)
    assert next_steps([theirs], replace(WANTED, spec=adopted), 10 * RESTART_AFTER_S) == []


def test_failed_starts_are_tried_again_less_and_less_often() -> None:
    waits = [backoff_s(failures) for failures in range(1, 20)]
    assert waits == sorted(waits)
    assert waits[0] == 2.0
    assert waits[-1] == BACKOFF_MAX_S


@given(st.integers(0, 2**32))
def test_whatever_happens_calls_have_somewhere_to_go_until_it_leaves(seed: int) -> None:
    """Versions change at random; servers come up, and empty, when they like; none fails."""
    luck = random.Random(seed)
    servers: dict[str, Server] = {}
    wanted, has_served = WANTED, False
    for second in range(200):
        now_s = float(second)
        if luck.random() < 0.05:
            wanted = replace(wanted, spec=replace(OLD, model_version=str(second)))
        for step in next_steps(list(servers.values()), wanted, now_s):
            match step:
                case Start(name, spec):
                    assert name not in servers
                    servers[name] = Server(name, spec, Phase.STARTING, now_s)
                case Drain(name):
                    servers[name] = replace(servers[name], phase=Phase.DRAINING, since_s=now_s)
                case Stop(name):
                    del servers[name]
        takes_calls = [s for s in servers.values() if s.phase is Phase.READY and s.routable]
        has_served = has_served or bool(takes_calls)
        assert takes_calls or not has_served
        assert len(servers) <= len(NAMES)
        for name, server in list(servers.items()):
            if luck.random() < 0.5:
                servers[name] = _moved_on(server, now_s)


def _moved_on(server: Server, now_s: float) -> Server:
    if server.phase is Phase.STARTING:
        return replace(server, phase=Phase.READY, since_s=now_s)
    if server.phase is Phase.READY:
        return replace(server, routable=True)
    return replace(server, told=True, in_flight=0, running=0, idle_since_s=now_s)
