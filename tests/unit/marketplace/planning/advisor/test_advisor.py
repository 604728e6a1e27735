"""The hardware advisor without I/O: queueing model, integer program, bound and search."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketplace.planning.advisor.answer import answer, answer_json, answer_of, undominated
from marketplace.planning.advisor.emulation import Verdict, emulate
from marketplace.planning.advisor.fluid import share_at_most
from marketplace.planning.advisor.model import propose, rate_until
from marketplace.planning.advisor.option import (
    Evidence,
    Option,
    chips_of,
    curve_factor,
    kind_of,
)
from marketplace.planning.advisor.program import Part, cheapest, cost_of, covers, largest_below
from marketplace.planning.advisor.published import benchmarks, published_options, results
from marketplace.planning.advisor.question import (
    Question,
    QuestionInvalid,
    question_of,
    slo_parse,
)
from marketplace.planning.advisor.queueing import (
    latency_ms,
    load_of,
    rate_carried,
    waiting_probability,
)
from marketplace.planning.advisor.roofline import emulated
from marketplace.planning.advisor.search import Search
from router.scheduling.batch_curve import BatchCurve
from router.simulator.scenarios import erlang_c_wait_s
from tests.bench.advisor_data import figures
from tests.examples import examples


def option(name: str = "fast", ms: float = 50.0, slots: int = 2, usd: float = 2.0) -> Option:
    return Option(
        name=name,
        hardware=f"1 × {name}",
        kind="gpu",
        chips=1,
        region="local",
        service_ms=ms,
        slots=slots,
        evidence=Evidence.MEASURED,
        cost_nano=round(usd * 1e9),
        samples=5_000,
    )


FAST, SLOW = option(), option("slow", ms=120.0, slots=2, usd=0.7)
QUESTION = Question(model="author/slug", rate_hz=55, slo_ms=300, share=0.95, size_cv=0.5)


# --- the question ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate_hz", 0),
        ("rate_hz", math.nan),
        ("slo_ms", -1),
        ("share", 1.0),
        ("size_cv", 9),
        ("kinds", []),
        ("kinds", ["quantum"]),
        ("budget_usd", -1),
        ("prices", {"x": 0}),
        ("utilisation_max", 1.5),
        ("model", ""),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(QuestionInvalid) as caught:
        question_of({"model": "a/b", "rate_hz": 1, "slo_ms": 100, field: value})
    assert caught.value.field.startswith(field)


def test_an_unknown_field_and_a_wrong_type_are_refused() -> None:
    for fields in ({"colour": "red"}, {"rate_hz": "many"}):
        with pytest.raises(QuestionInvalid):
            question_of({"model": "a/b", "rate_hz": 1, "slo_ms": 100, **fields})


def test_an_slo_is_read_as_people_write_it() -> None:
    assert slo_parse("p99=800") == (0.99, 800.0)
    assert slo_parse("p99.5=2s") == (0.995, 2_000.0)
    with pytest.raises(QuestionInvalid):
        slo_parse("fast")


# --- options -----------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.floats(0.1, 8)),
        max_size=5,
        unique_by=lambda point: point[0],
    ).map(sorted),
    st.integers(1, 40),
)
def test_a_batch_curve_is_read_as_the_scheduler_reads_it(
    points: list[tuple[int, float]], concurrency: int
) -> None:
    assert curve_factor(tuple(points), concurrency) == pytest.approx(
        BatchCurve(points).factor(concurrency)
    )


def test_hardware_is_told_apart_by_its_name() -> None:
    names = {
        "2 × NVIDIA H100 (emulated)": "gpu",
        "AMD Instinct MI300X 192GB": "gpu",
        "8 × Google TPU v5e (emulated)": "tpu",
        "Intel Xeon Platinum 8592+": "cpu",
        "CPU, 2 threads, 2 slots": "cpu",
        "abacus": "other",
    }
    assert {name: kind_of(name) for name in names} == names
    assert (chips_of("8 × Google TPU v5e"), chips_of("CPU, 2 threads")) == (8, 1)


def test_the_emulated_figures_are_those_of_the_emulator() -> None:
    assert list(emulated()) == figures()


def test_every_published_figure_names_where_it_was_read() -> None:
    for one in results().results:
        assert one.url.startswith("https://github.com/mlcommons/inference_results_v4.1/blob/")
        assert one.benchmark in one.url
        assert one.samples_per_s > 0 < one.mean_latency_ms < one.p99_latency_ms
    assert "mlperf/stable-diffusion-xl" in benchmarks()


def test_a_published_option_has_no_price_and_is_not_chosen_without_one() -> None:
    question = Question(model="mlperf/stable-diffusion-xl", rate_hz=2, slo_ms=60_000, share=0.9)
    options = published_options(question)
    assert {one.kind for one in options} == {"gpu", "tpu"}
    without = answer(question, options, task="vision")
    assert without.fleet is None
    assert {one.left_out for one in without.options} == {"price"}

    name = next(one.name for one in options if one.kind == "tpu")
    priced = Question(model=question.model, rate_hz=2, slo_ms=60_000, share=0.9, prices={name: 4.8})
    found = answer(priced, options, task="vision")
    assert found.fleet is not None
    assert found.fleet.lines[0].option == name
    assert (found.confidence, found.pilots[0].reason) == ("low", "published")


# --- queueing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate_hz", "servers"), [(5.0, 1), (30.0, 4), (170.0, 18)])
def test_the_wait_is_erlangs_where_service_is_exponential(rate_hz: float, servers: int) -> None:
    service_s = 0.1
    waits = waiting_probability(servers, rate_hz * service_s)
    mean_s = waits * service_s / (servers - rate_hz * service_s)
    assert mean_s == pytest.approx(erlang_c_wait_s(rate_hz, service_s, servers))


def test_more_instances_carry_more_each_because_queues_pool() -> None:
    carried = [
        rate_carried(SLOW, n, slo_ms=400, share=0.95, cv=0.5, utilisation_max=0.95)
        for n in range(1, 6)
    ]
    assert all(one > 0 for one in carried)
    each = [rate / n for n, rate in enumerate(carried, 1)]
    assert each == sorted(each)
    assert each[-1] > 1.2 * each[0]


def test_what_is_carried_is_just_within_the_slo() -> None:
    asked = {"slo_ms": 250.0, "share": 0.95, "cv": 0.5}
    rate = rate_carried(FAST, 1, **asked, utilisation_max=0.99)
    assert load_of(FAST, 1, rate, 0.5).within(250.0) >= 0.95
    assert load_of(FAST, 1, rate * 1.01, 0.5).within(250.0) < 0.95
    assert rate_carried(FAST, 1, slo_ms=50, share=0.95, cv=0.5, utilisation_max=0.9) == 0


@given(st.floats(0.05, 0.9), st.floats(0, 2), st.integers(1, 6))
def test_percentiles_rise_and_agree_with_the_share(busy: float, cv: float, count: int) -> None:
    load = load_of(SLOW, count, busy * count * SLOW.capacity_hz, cv)
    p50, p99 = (latency_ms([(1.0, load)], share) for share in (0.5, 0.99))
    assert 0 < p50 <= p99
    assert load.within(p99 * 1.001) >= 0.99


def test_the_model_is_near_the_simulator_at_a_moderate_load() -> None:
    question = Question(model="a/b", rate_hz=60, slo_ms=260, share=0.95, size_cv=0.5)
    load = load_of(SLOW, 6, 60, 0.5)
    run = emulate([SLOW], (6,), question, seed=3, stages=(20_000,))
    assert load.within(260) == pytest.approx(run.within[0], abs=0.03)


# --- the integer program -----------------------------------------------------------------------

PARTS = st.lists(
    st.tuples(
        st.integers(1, 9).map(float),
        st.lists(st.integers(0, 9), min_size=1, max_size=4).map(
            lambda steps: tuple(float(one) for one in itertools.accumulate(steps))
        ),
    ).map(lambda made: Part(*made)),
    min_size=1,
    max_size=4,
)


def brute_force(
    parts: list[Part], rate: float, budget: float, spare: bool, mixed: int
) -> float | None:
    """The least cost over every fleet there is."""
    best: float | None = None
    for counts in itertools.product(*(range(len(part.carries) + 1) for part in parts)):
        if not 1 <= sum(n > 0 for n in counts) <= mixed:
            continue
        fleets = [counts]
        if spare:
            fleets += [
                tuple(n - (i == lost) for i, n in enumerate(counts))
                for lost, count in enumerate(counts)
                if count
            ]
        carried = min(
            sum(part.rate_hz(n) for part, n in zip(parts, fleet, strict=True)) for fleet in fleets
        )
        cost = cost_of(parts, counts)
        if carried >= rate and (not budget or cost <= budget) and (best is None or cost < best):
            best = cost
    return best


@settings(max_examples=examples(50))
@given(PARTS, st.integers(1, 30), st.integers(0, 40), st.booleans(), st.integers(1, 3))
def test_the_program_finds_what_trying_everything_finds(
    parts: list[Part], rate: int, budget: int, spare: bool, mixed: int
) -> None:
    found = cheapest(parts, rate, budget=budget, spare=spare, mixed_max=mixed)
    best = brute_force(parts, rate, budget, spare, mixed)
    assert (cost_of(parts, found) if found else None) == pytest.approx(best)


@settings(max_examples=examples(20))
@given(PARTS, st.integers(1, 20))
def test_cuts_bring_the_fleets_one_after_the_other_in_order_of_cost(
    parts: list[Part], rate: int
) -> None:
    cuts: list[tuple[int, ...]] = []
    costs: list[float] = []
    for _ in range(4):
        found = cheapest(parts, rate, cuts=cuts)
        if found is None:
            break
        assert not any(covers(cut, found) for cut in cuts)
        cuts.append(found)
        costs.append(cost_of(parts, found))
    assert costs == sorted(costs)


@settings(max_examples=examples(20))
@given(
    st.lists(st.integers(1, 6).map(float), min_size=1, max_size=3), st.integers(1, 20).map(float)
)
def test_every_cheaper_fleet_lies_within_one_of_the_largest(
    costs: list[float], cost: float
) -> None:
    most = [6] * len(costs)
    largest = largest_below(costs, cost, most)
    for counts in itertools.product(*(range(n + 1) for n in most)):
        if 1 <= sum(n > 0 for n in counts) <= 2:
            price = sum(one * n for one, n in zip(costs, counts, strict=True))
            assert (price < cost) == any(covers(one, counts) for one in largest)


# --- the bound and the search ------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1, 2), (2, 0), (0, 4), (1, 5)])
def test_no_run_beats_the_bound(counts: tuple[int, int]) -> None:
    question = Question(model="a/b", rate_hz=40, slo_ms=200, share=0.9, size_cv=1.0)
    bound = share_at_most([FAST, SLOW], counts, rate_hz=40, slo_ms=200, cv=1.0)
    run = emulate([FAST, SLOW], counts, question, seed=1, stages=(4_000,))
    assert run.within[0] <= bound + 0.01


def test_the_bound_is_nothing_where_the_rate_cannot_be_served() -> None:
    assert share_at_most([FAST, SLOW], (1, 0), rate_hz=41, slo_ms=1e6, cv=0.0) == 0
    assert share_at_most([FAST, SLOW], (1, 0), rate_hz=39, slo_ms=1e6, cv=0.0) == 1


@pytest.mark.nightly  # As the search with a spare.
def test_the_searched_fleet_meets_the_slo_and_every_cheaper_one_misses_it() -> None:
    checked = Search(QUESTION, [FAST, SLOW], seed=1, seconds_max=math.inf).run()
    assert checked.complete
    assert checked.counts is not None
    assert checked.figures is not None
    assert checked.figures.verdict is Verdict.MEETS
    paid = 2.0 * checked.counts[0] + 0.7 * checked.counts[1]
    for counts in largest_below([2.0, 0.7], paid, [20, 20]):
        if 0.9 * (40 * counts[0] + 2 / 0.12 * counts[1]) >= QUESTION.rate_hz:
            run = emulate([FAST, SLOW], counts, QUESTION, seed=77, stages=(6_000,))
            assert run.verdict is not Verdict.MEETS


@pytest.mark.nightly  # Whole searches: a quarter of a minute.
def test_with_a_spare_the_slo_holds_when_any_instance_is_gone() -> None:
    question = Question(model="a/b", rate_hz=60, slo_ms=400, share=0.95, size_cv=0.5, spare=True)
    checked = Search(question, [FAST, SLOW], seed=1, seconds_max=math.inf).run()
    assert checked.counts is not None
    for lost, count in enumerate(checked.counts):
        if count:
            left = tuple(n - (i == lost) for i, n in enumerate(checked.counts))
            run = emulate([FAST, SLOW], left, question, seed=77, stages=(12_000,))
            assert run.within[0] >= question.share


def test_a_search_without_time_says_that_it_is_not_complete() -> None:
    checked = Search(QUESTION, [FAST, SLOW], seed=1, seconds_max=0.0).run()
    assert not checked.complete
    assert checked.counts is None
    made = answer(QUESTION, [FAST, SLOW], task="chat", check_seconds=1e-9)
    assert made.fleet is not None  # The model's own stays.


# --- the answer --------------------------------------------------------------------------------


def test_an_answer_says_what_binds_and_survives_json() -> None:
    tight = Question(model="a/b", rate_hz=55, slo_ms=200, share=0.95, size_cv=0.5)
    made = answer(tight, [FAST, SLOW], task="chat")
    assert made.fleet is not None
    assert "slo" in made.binding
    assert made.confidence == "high"
    assert made.pilots == ()
    assert made.fleet.usd_per_1k_met is not None
    assert made.fleet.usd_per_1k_met >= made.fleet.usd_per_1k_calls
    assert sum(line.traffic for line in made.fleet.lines) == pytest.approx(1)
    assert answer_of(answer_json(made)) == made


def test_a_budget_too_small_is_what_binds() -> None:
    question = Question(model="a/b", rate_hz=60, slo_ms=400, share=0.95, budget_usd=1.0)
    made = answer(question, [FAST, SLOW], task="chat")
    assert made.fleet is None
    assert "budget" in made.binding


def test_the_next_instance_is_needed_beyond_the_rate_that_is_named() -> None:
    counts = propose(QUESTION, [FAST, SLOW])
    assert counts is not None
    until = rate_until(QUESTION, [FAST, SLOW], counts)
    assert until >= QUESTION.rate_hz
    beyond = Question(model="a/b", rate_hz=until * 1.02, slo_ms=300, share=0.95, size_cv=0.5)
    assert propose(beyond, [FAST, SLOW]) != counts


def test_a_kind_or_region_that_is_not_allowed_is_left_out_with_its_reason() -> None:
    question = Question(model="a/b", rate_hz=5, slo_ms=900, kinds=("cpu",), regions=("mars",))
    made = answer(question, [FAST], task="chat")
    assert made.fleet is None
    assert made.options[0].left_out == "kind"


def test_an_option_that_another_beats_in_everything_is_not_looked_at() -> None:
    worse = option("worse", ms=60.0, slots=2, usd=2.5)
    assert undominated([worse, FAST, SLOW]) == [SLOW, FAST]
