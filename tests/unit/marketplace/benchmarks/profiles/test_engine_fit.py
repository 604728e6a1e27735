"""What a benchmark's streams say of an engine: known weights are found, and curves predicted."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from marketplace.benchmarks.loadgen.samples import Sample
from marketplace.benchmarks.profiles.engine_figures import EngineFigures, figures_from
from marketplace.benchmarks.profiles.engine_fit import Observed, engine_fit, fitted, observed
from router.domain.catalog import USUAL_ENGINE
from router.simulator.engines.batching import EngineSpec, EngineState, StepForm
from tests.bench.offline import kept_in_flight

LOADS = (1, 2, 4, 8)
PROMPTS = (128, 16, 48)
ANSWER, EVENT_TOKENS = 64, 2


def spec(form: StepForm = StepForm.LINEAR, *, slower: float = 1.0) -> EngineSpec:
    """An engine of 12 ms a step and 8,000 prompt tokens a second."""
    return EngineSpec(
        "e",
        "gpu",
        prefill_hz=8_000 / slower,
        base_s=0.012 * slower,
        batch_s=0.0006 * slower,
        context_s=2e-7 * slower,
        kv_tokens=400_000,
        step_tokens=2_048,
        sequences_max=256,
        event_tokens=EVENT_TOKENS,
        form=form,
    )


def answers(
    engine: EngineState, load: int, *, count: int = 96, prompts: Sequence[int] = PROMPTS
) -> list[Sample]:
    return kept_in_flight(engine, load, prompts=prompts, answer_events=ANSWER, count=count)


def measured(engine: EngineSpec, prompts: Sequence[int] = PROMPTS) -> list[list[Sample]]:
    return [answers(EngineState(engine), load, prompts=prompts) for load in LOADS]


def fit_of(points: Sequence[Sequence[Sample]]) -> EngineFigures:
    found = engine_fit(points)
    assert found is not None
    return found


def step_ratio(fit: EngineFigures, answers: Sequence[Observed]) -> float:
    """Predicted over measured time of a step, both on average."""
    expected = [float(np.dot(fit.step.weights, answer.step)) for answer in answers]
    return sum(expected) / sum(answer.step_s for answer in answers)


def first_ratio(fit: EngineFigures, answers: Sequence[Observed]) -> float:
    """The same of the first token, where others were answered meanwhile if ever they were."""
    busy = [answer for answer in answers if answer.first[1]] or answers
    expected = [float(np.dot(fit.first.weights, item.first)) for item in busy]
    return sum(expected) / sum(item.first_s for item in busy)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(0.5, 2.0)] * 4),
    st.floats(0.02, 50.0),
    st.integers(0, 2**31 - 1),
)
def test_known_weights_are_found(multiples: tuple[float, ...], slower: float, seed: int) -> None:
    """Any engine from fifty times as fast as the usual one to as many times slower."""
    random = np.random.default_rng(seed)
    true = np.array(USUAL_ENGINE.step) * multiples * slower
    # Each term takes a share of some size somewhere: where none does, nothing can tell it.
    spread = 1 / np.array(USUAL_ENGINE.step) * USUAL_ENGINE.step[0]
    inputs = random.uniform(0, 2, (1_000, 4)) * spread
    inputs[:, 0] = 1.0
    seconds = inputs @ true * random.lognormal(0, 0.03, 1_000)
    found = fitted(inputs.tolist(), seconds.tolist(), np.ones(1_000), USUAL_ENGINE.step)
    assert found.weights == pytest.approx(tuple(true), rel=0.1)
    assert all(found.told)


def test_a_linear_engine_is_found_by_its_streams() -> None:
    fit = fit_of(measured(spec()))
    y0, y1, _, _ = fit.step.weights
    assert y0 == pytest.approx(0.012 / EVENT_TOKENS, rel=0.1)
    # Eight answers at once are a third of a step: how much of that is their context is not told.
    assert y1 == pytest.approx(0.0006 / EVENT_TOKENS, rel=0.2)
    assert fit.alone_ms == pytest.approx(12.6 / EVENT_TOKENS, rel=0.05)
    assert fit.together_ms == pytest.approx(16.9 / EVENT_TOKENS, rel=0.05)
    assert fit.at_once == 8
    assert fit.curve.event_tokens == EVENT_TOKENS
    assert fit.context_tokens == pytest.approx(64, rel=0.2)


@pytest.mark.parametrize("form", StepForm)
def test_steps_of_any_form_are_predicted_where_they_were_measured(form: StepForm) -> None:
    points = measured(spec(form))
    fit = fit_of(points)
    for load, samples in zip(LOADS, points, strict=True):
        assert step_ratio(fit, observed(samples)) == pytest.approx(1, abs=0.2)
        if load > 1:
            assert first_ratio(fit, observed(samples)) == pytest.approx(1, abs=0.2)


def test_how_fast_it_reads_is_told_by_prompts_of_several_lengths() -> None:
    fit = fit_of(measured(spec(), prompts=(1_024, 128, 384)))
    assert fit.reads_hz == pytest.approx(8_000, rel=0.2)


def test_what_cannot_be_told_keeps_its_usual_share_and_says_so() -> None:
    """One at a time, all prompts alike: there is one figure for the first token, one for a step."""
    points = [answers(EngineState(spec()), 1, prompts=(64,))]
    fit = fit_of(points)
    assert fit.reads_hz is None
    assert first_ratio(fit, observed(points[0])) == pytest.approx(1, rel=0.01)
    assert step_ratio(fit, observed(points[0])) == pytest.approx(1, rel=0.01)
    x0, _, x2 = fit.first.weights
    usual_x0, _, usual_x2 = USUAL_ENGINE.first
    assert x2 / x0 == pytest.approx(usual_x2 / usual_x0, rel=0.1)


def test_what_takes_no_time_in_what_was_measured_is_neither_nothing_nor_told() -> None:
    """A router learns by factors, and would never come back from nothing."""
    inputs = [(1.0, float(n % 8), 0.1 * (n % 5)) for n in range(100)]
    found = fitted(inputs, [0.05] * 100, np.ones(100), USUAL_ENGINE.first)
    usual_x0, *usual = USUAL_ENGINE.first
    for weight, item in zip(found.weights[1:], usual, strict=True):
        assert weight > 0.05 * item * found.weights[0] / usual_x0
    assert found.told[0]
    assert not found.told[2]
    assert found.missed < 0.1


def test_an_engine_that_reads_far_more_slowly_than_it_answers_is_found() -> None:
    """As a processor does: a step with a prompt in it takes ten times as long."""
    slow_reader = replace(spec(), prefill_hz=133.0)
    points = measured(slow_reader)
    fit = fit_of(points)
    assert fit.reads_hz == pytest.approx(133, rel=0.3)
    assert fit.alone_ms == pytest.approx(12.6 / EVENT_TOKENS, rel=0.2)
    for samples in points:
        assert step_ratio(fit, observed(samples)) == pytest.approx(1, abs=0.25)


def test_what_was_cached_was_not_read() -> None:
    points = measured(spec(), prompts=(1_024, 128, 384))
    reads_hz = fit_of(points).reads_hz
    for samples in points:
        for sample in samples:
            sample.prompt_tokens += 2_000
            sample.cached_tokens = 2_000
    again = fit_of(points)
    assert again.reads_hz == pytest.approx(reads_hz)
    assert again.context_tokens > 2_000


def test_a_few_hiccups_change_little() -> None:
    points = measured(spec())
    calm = fit_of(points)
    for samples in points:
        for sample in samples[::20]:
            sample.ttft_ms += 5_000
            sample.total_ms += 5_000
    again = fit_of(points)
    assert again.first.weights == pytest.approx(calm.first.weights, rel=0.35)
    assert again.alone_ms == pytest.approx(calm.alone_ms, rel=0.05)


def test_workers_that_are_called_in_turn_are_looked_at_one_by_one() -> None:
    points = measured(spec())
    both = [
        [*samples, *(Sample(**{**asdict(sample), "server": 1}) for sample in samples)]
        for samples in points
    ]
    one, two = fit_of(points), fit_of(both)
    assert two.at_once == one.at_once
    assert two.step.weights == pytest.approx(one.step.weights, rel=0.1)


def test_too_few_streams_whole_answers_and_failures_say_nothing() -> None:
    samples = answers(EngineState(spec()), 2, count=19)
    assert engine_fit([samples]) is None
    assert engine_fit([]) is None
    whole = [Sample(n * 1.0, 500, 0, 9, prompt_tokens=9) for n in range(50)]
    uncounted = [Sample(n * 1.0, 500, 50, 9) for n in range(50)]
    failed = [Sample(n * 1.0, 500, 50, 9, error="x", prompt_tokens=9) for n in range(50)]
    assert engine_fit([whole, uncounted, failed]) is None


def test_figures_survive_json_and_become_slower_as_a_whole() -> None:
    fit = fit_of(measured(spec()))
    again = figures_from(json.loads(json.dumps(asdict(fit))))
    assert again == fit
    twice = fit.slower(2)
    assert twice.alone_ms == pytest.approx(2 * fit.alone_ms)
    assert fit.reads_hz is not None
    assert twice.reads_hz == pytest.approx(fit.reads_hz / 2)
    slow = fit_of(measured(spec(slower=2)))
    assert slow.curve.step == pytest.approx(twice.curve.step, rel=0.05)
