"""A request's preferences: money, speed, and providers to avoid."""

from hypothesis import given
from hypothesis import strategies as st

from router.domain.request import Sort
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Decision, Dispatch
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import dispatched, endpoint, place, scheduler, ticket

NAMES = "abcd"


@given(
    st.lists(st.integers(1, 1000), min_size=4, max_size=4, unique=True),
    st.lists(st.floats(10, 5_000), min_size=4, max_size=4, unique=True),
    st.floats(0.05, 6.0),
)
def test_by_price_nobody_dearer_is_taken_than_the_cheapest_that_is_on_time(
    costs: list[int], services_ms: list[float], deadline_s: float
) -> None:
    made = scheduler(
        *(endpoint(n, service_ms=ms) for n, ms in zip(NAMES, services_ms, strict=True))
    )
    cost_nano = {name: float(cost) for name, cost in zip(NAMES, costs, strict=True)}
    took = {name: made.fleet.endpoints[name].effective_s for name in NAMES}
    wish = ticket("t", *NAMES, sort=Sort.PRICE, cost_nano=cost_nano, deadline_s=deadline_s)
    (went,) = dispatched(made.arrive(wish, 0.0))
    on_time = [name for name in NAMES if took[name] <= deadline_s]
    if on_time:
        assert went == min(on_time, key=cost_nano.__getitem__)
    else:
        assert went == min(NAMES, key=took.__getitem__), "the least late"


def test_of_those_that_cost_the_same_the_quicker_is_taken() -> None:
    made = scheduler(endpoint("slow", service_ms=900), endpoint("quick", service_ms=90))
    wish = ticket("t", "slow", "quick", sort=Sort.PRICE, cost_nano={"slow": 7.0, "quick": 7.0})
    assert dispatched(made.arrive(wish, 0.0)) == ["quick"]


def test_by_price_the_cheap_one_is_taken_even_if_its_answer_takes_longer_than_a_wait() -> None:
    made = scheduler(endpoint("cheap", service_ms=60_000), endpoint("dear", service_ms=40_000))
    cost_nano = {"cheap": 1.0, "dear": 2.0}
    wish = ticket("t", "cheap", "dear", sort=Sort.PRICE, cost_nano=cost_nano, patience_s=30)
    assert dispatched(made.arrive(wish, 0.0)) == ["cheap"]


def test_by_price_a_ticket_waits_for_the_cheap_one_while_there_is_time() -> None:
    made = scheduler(endpoint("cheap", service_ms=1000), endpoint("dear", service_ms=50))
    running = [place(made, name, "cheap") for name in "xy"]
    wish = ticket("t", "cheap", "dear", sort=Sort.PRICE, cost_nano={"cheap": 1.0, "dear": 2.0})
    assert made.arrive(wish, 0.0) == []
    assert dispatched(made.ended(running[0], ANSWERED, 1.0)) == ["cheap"]


def test_a_ticket_that_waited_for_the_cheap_one_leaves_for_the_dearer_in_time() -> None:
    made = scheduler(endpoint("cheap", service_ms=1000), endpoint("dear", service_ms=50))
    for name in "xy":
        place(made, name, "cheap")
    wish = ticket(
        "t",
        "cheap",
        "dear",
        sort=Sort.PRICE,
        cost_nano={"cheap": 1.0, "dear": 2.0},
        deadline_s=3.2,
    )
    assert made.arrive(wish, 0.0) == []
    now_s, went = 0.0, list[str]()
    while not went:
        now_s += 0.1
        went = dispatched(made.tick(now_s))
    assert went == ["dear"], "the cheap one hangs"
    assert now_s + 0.05 <= 3.2


def full(dear_nano: float) -> tuple[Scheduler, dict[str, list[Attempt]]]:
    """Two workers that have all they may have, and a ticket that waits for the cheap one."""
    made = scheduler(endpoint("cheap", service_ms=1000), endpoint("dear", service_ms=1000))
    running = {name: [place(made, f"{name}-{n}", name) for n in "01"] for name in ("cheap", "dear")}
    cost_nano = {"cheap": 100_000.0, "dear": dear_nano}
    wish = ticket("wish", "cheap", "dear", tenant=1, sort=Sort.PRICE, cost_nano=cost_nano)
    assert made.arrive(wish, 0.0) == []
    return made, running


def sent(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [
        (d.attempt.ticket.id, d.attempt.endpoint.id) for d in decisions if isinstance(d, Dispatch)
    ]


def test_a_ticket_that_waits_for_the_cheap_one_takes_no_dear_place_of_another_ticket() -> None:
    made, running = full(dear_nano=900_000.0)
    assert made.arrive(ticket("plain", "cheap", "dear", now_s=0.1, tenant=1), 0.1) == []
    assert sent(made.ended(running["dear"][0], ANSWERED, 1.0)) == [("plain", "dear")]
    assert sent(made.ended(running["cheap"][0], ANSWERED, 1.1)) == [("wish", "cheap")]


def test_the_nearly_cheapest_is_not_the_cheapest_though_other_tenants_wait() -> None:
    made, running = full(dear_nano=124_000.0)
    assert made.arrive(ticket("other", "cheap", tenant=2), 0.0) == []
    for attempt in running["dear"]:
        assert made.ended(attempt, ANSWERED, 1.0) == []


def test_a_ticket_that_waits_for_the_cheap_one_is_not_passed_by_where_all_are_full() -> None:
    made, running = full(dear_nano=900_000.0)
    assert made.arrive(ticket("plain", "cheap", "dear", tenant=1), 0.0) == []
    assert made.tick(1.0) == []
    assert sent(made.ended(running["cheap"][0], ANSWERED, 1.0)) == [("wish", "cheap")]


def test_by_latency_money_and_weights_do_not_count() -> None:
    made = scheduler(endpoint("cheap", service_ms=100), endpoint("dear", service_ms=50))
    wish = ticket("t", "cheap", "dear", sort=Sort.LATENCY, cost_nano={"cheap": 0.0, "dear": 1e9})
    assert dispatched(made.arrive(wish, 0.0)) == ["dear"]


@given(st.floats(0, 1e6), st.sampled_from([None, *Sort]))
def test_a_penalty_never_excludes(penalty_s: float, sort: Sort | None) -> None:
    made = scheduler(endpoint("only"))
    unwanted = ticket("t", "only", sort=sort, penalty_s={"only": penalty_s})
    assert dispatched(made.arrive(unwanted, 0.0)) == ["only"]


def test_a_penalty_counts_for_as_many_seconds_as_it_says() -> None:
    for penalty_s, chosen in ((0.09, "quick"), (0.11, "slow")):
        made = scheduler(endpoint("quick", service_ms=100), endpoint("slow", service_ms=200))
        wish = ticket("t", "quick", "slow", penalty_s={"quick": penalty_s})
        assert dispatched(made.arrive(wish, 0.0)) == [chosen]


def test_a_preferred_latency_is_a_wish_and_no_limit() -> None:
    made = scheduler(endpoint("a", service_ms=500), endpoint("b", service_ms=900))
    assert dispatched(made.arrive(ticket("t", "a", "b", preferred_s=0.1), 0.0)) == ["a"]


def test_a_preferred_latency_is_kept_where_it_can_be() -> None:
    made = scheduler(endpoint("a", service_ms=100), endpoint("b", service_ms=150))
    penalty_s = {"a": 1.0}
    assert dispatched(made.arrive(ticket("t", "a", "b", penalty_s=penalty_s), 0.0)) == ["b"]
    wish = ticket("u", "a", "b", preferred_s=0.12, penalty_s=penalty_s)
    assert dispatched(made.arrive(wish, 0.0)) == ["a"]


def test_by_price_a_ticket_goes_to_the_dearer_one_if_the_cheap_queue_is_too_long() -> None:
    made = scheduler(endpoint("cheap", service_ms=1000), endpoint("dear", service_ms=50))
    cost_nano = {"cheap": 10.0, "dear": 50.0}
    went = []
    for number in range(4):
        wish = ticket(
            str(number), "cheap", "dear", sort=Sort.PRICE, cost_nano=cost_nano, deadline_s=2.2
        )
        went += dispatched(made.arrive(wish, 0.0))
    assert went == ["cheap", "cheap", "dear", "dear"]


def test_by_throughput_the_fastest_is_taken_whatever_the_wait() -> None:
    made = scheduler(endpoint("a", service_ms=50), endpoint("b", service_ms=60))
    place(made, "x", "a")
    wish = ticket("t", "a", "b", sort=Sort.THROUGHPUT)
    assert dispatched(made.arrive(wish, 0.0)) == ["a"]
