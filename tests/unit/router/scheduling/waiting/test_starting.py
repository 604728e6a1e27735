"""Calls that wait for a start: places, expectations that learn, and bounds."""

from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.waiting.starting import LEFT_LEAST, Starts

POOL = {"gpu": 20.0}


def test_the_first_call_waits_for_the_declared_time_and_the_next_for_its_rest() -> None:
    starts = Starts(10)
    first = starts.arrive("a", "m", 1, POOL, 100.0)
    second = starts.arrive("b", "m", 1, POOL, 105.0)
    assert first is not None
    assert second is not None
    assert (first.place, first.eta_s) == (1, 20.0)
    assert (second.place, second.eta_s) == (2, 15.0)
    starts.leave("a", 106.0)
    moved = starts.standing("b", 106.0)
    assert moved is not None
    assert (moved.place, moved.eta_s) == (1, 14.0)


def test_a_start_that_takes_too_long_still_has_some_time_left() -> None:
    starts = Starts(10)
    starts.arrive("a", "m", 1, POOL, 0.0)
    late = starts.standing("a", 500.0)
    assert late is not None
    assert late.eta_s == LEFT_LEAST * 20.0


def test_starts_that_took_longer_than_declared_are_expected_to_do_so_again() -> None:
    starts = Starts(10)
    starts.arrive("a", "m", 1, POOL, 0.0)
    starts.started("m", ["gpu"], 40.0)
    starts.leave("a", 40.0)
    assert starts.waiting == 0
    again = starts.arrive("b", "m", 1, POOL, 1_000.0)
    assert again is not None
    assert again.eta_s == 40.0


def test_callers_who_give_up_and_come_again_do_not_shorten_what_a_start_took() -> None:
    starts = Starts(10)
    for turn in range(8):
        starts.arrive(f"c{turn}", "m", 1, POOL, 5.0 * turn)
        if turn < 7:
            starts.leave(f"c{turn}", 5.0 * turn + 4)
    starts.started("m", ["gpu"], 40.0)
    starts.leave("c7", 40.0)
    later = starts.arrive("d", "m", 1, POOL, 900.0)
    assert later is not None
    assert later.eta_s == 40.0


def test_one_caller_leaves_room_for_another_and_the_bound_holds() -> None:
    starts = Starts(10)
    own = [starts.arrive(f"a{n}", "m", 1, POOL, 0.0) for n in range(12)]
    assert sum(standing is not None for standing in own) == 8
    assert starts.arrive("b", "m", 2, POOL, 0.0) is not None
    for n in range(12):
        starts.arrive(f"other{n}", "m", n + 3, POOL, 0.0)
    assert starts.waiting == 10


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=60))
def test_counts_and_places_agree_after_any_moves(moves: list[tuple[int, int]]) -> None:
    starts, waiting = Starts(4), dict[str, str]()
    for now_s, (call, model) in enumerate(moves):
        id_ = f"c{call}"
        if id_ in waiting:
            starts.leave(id_, now_s)
            del waiting[id_]
        elif starts.arrive(id_, f"m{model}", call, POOL, now_s) is not None:
            waiting[id_] = f"m{model}"
        if model == 2:
            starts.started("m2", ["gpu"], now_s)
            for gone in [ticket for ticket, its in waiting.items() if its == "m2"]:
                starts.leave(gone, now_s)
                del waiting[gone]
        assert starts.waiting == len(waiting)
        counts = starts.waiting_by_model
        assert counts == {its: list(waiting.values()).count(its) for its in set(waiting.values())}
        for its, count in counts.items():
            standings = [
                starts.standing(ticket, now_s) for ticket in waiting if waiting[ticket] == its
            ]
            places = sorted(standing.place for standing in standings if standing is not None)
            assert places == list(range(1, count + 1))
