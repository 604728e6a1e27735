"""The hardware advisor without I/O: queueing model, integer program and search."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketplace.planning.advisor.answer import answer, answer_of, undominated
from marketplace.planning.advisor.fleets.emulation import emulate
from marketplace.planning.advisor.fleets.model import propose, rate_until
from marketplace.planning.advisor.fleets.option import (
    chips_of,
    curve_factor,
    kind_of,
)
from marketplace.planning.advisor.fleets.program import (
    Part,
    cheapest,
    cost_of,
    covers,
)
from marketplace.planning.advisor.fleets.queueing import (
    latency_ms,
    load_of,
    rate_carried,
    waiting_probability,
)
from marketplace.planning.advisor.options.published import benchmarks, published_options, results
from marketplace.planning.advisor.options.roofline import emulated_options
from marketplace.planning.advisor.question import (
    Question,
    question_of,
    slo_parse,
)
from marketplace.planning.asking import QuestionInvalid
from router.scheduling.estimates.batch_curve import BatchCurve
from tests.bench.advisor_data import figures
from tests.examples import examples
from tests.queueing import erlang_c_wait_s
from tests.unit.marketplace.planning.advisor.options import FAST, QUESTION, SLOW, option

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
    assert repr(value) in str(caught.value)


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
    assert list(emulated_options()) == figures()


def test_every_published_figure_names_where_it_was_read() -> None:
    for result in results().results:
        assert result.url.startswith("https://github.com/mlcommons/inference_results_v4.1/blob/")
        assert result.benchmark in result.url
        assert result.samples_per_s > 0 < result.mean_latency_ms < result.p99_latency_ms
    assert "mlperf/stable-diffusion-xl" in benchmarks()


def test_a_published_option_has_no_price_and_is_not_chosen_without_one() -> None:
    question = Question(model="mlperf/stable-diffusion-xl", rate_hz=2, slo_ms=60_000, share=0.9)
    options = published_options(question)
    assert {option.kind for option in options} == {"gpu", "tpu"}
    without = answer(question, options, task="vision")
    assert without.fleet is None
    assert {option.left_out for option in without.options} == {"price"}

    name = next(option.name for option in options if option.kind == "tpu")
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
    assert all(item > 0 for item in carried)
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
            lambda steps: tuple(float(item) for item in itertools.accumulate(steps))
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
    assert answer_of(msgspec.to_builtins(made)) == made


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
