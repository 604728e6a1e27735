"""The search for a fleet: what the program proposes and the simulator judges, and from there on."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketplace.planning.advisor.answer import answer
from marketplace.planning.advisor.fleets.emulation import Emulated, Verdict, emulate
from marketplace.planning.advisor.fleets.model import propose
from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.program import COUNT_MAX, MIXED_MAX, covers, neighbours
from marketplace.planning.advisor.fleets.search import PROPOSALS_MAX, Checked, Search
from marketplace.planning.advisor.question import Question
from tests.examples import examples
from tests.unit.marketplace.planning.advisor.options import FAST, QUESTION, SLOW


@given(
    st.lists(
        st.tuples(st.integers(1, 9).map(float), st.integers(0, 6)), min_size=1, max_size=4
    ).filter(lambda options: any(count for _, count in options))
)
def test_a_neighbour_is_cheaper_and_one_step_away(options: list[tuple[float, int]]) -> None:
    costs, counts = [cost for cost, _ in options], tuple(count for _, count in options)
    price = sum(cost * n for cost, n in zip(costs, counts, strict=True))
    for near in neighbours(costs, counts):
        changes = [n - m for n, m in zip(near, counts, strict=True) if n != m]
        assert sum(cost * n for cost, n in zip(costs, near, strict=True)) < price
        assert 1 <= sum(n > 0 for n in near) <= MIXED_MAX
        assert max(near) <= COUNT_MAX
        # One goes, or one comes, and nothing else goes.
        assert min(changes) == -1 or sorted(changes)[1:] == [1]
        assert sum(change < 0 for change in changes) == 1


def test_one_instance_is_swapped_for_as_many_as_cost_less() -> None:
    assert neighbours([2.0, 0.7], (2, 0)) == [(1, 0), (1, 2)]
    assert neighbours([2.0, 0.7], (0, 4)) == [(0, 3), (1, 1)]
    assert {(0, 0, 3), (0, 1, 1)} <= set(neighbours([12.0, 6.0, 3.6], (1, 0, 0)))


def search(question: Question = QUESTION, seconds_max: float = math.inf) -> Checked:
    return Search(question, [FAST, SLOW], seed=1, seconds_max=seconds_max).run()


class Judge:
    """A simulator by which a fleet meets the SLO where its weights add up to enough."""

    def __init__(self, weights: tuple[float, float], enough: float) -> None:
        self.weights, self.enough = weights, enough
        self.seen: list[tuple[int, ...]] = []

    def meets(self, counts: tuple[int, ...]) -> bool:
        return sum(w * n for w, n in zip(self.weights, counts, strict=True)) >= self.enough

    def __call__(
        self,
        options: Sequence[Option],
        counts: tuple[int, ...],
        question: Question,
        *,
        seed: int,
        stages: Sequence[int],
        in_time: Callable[[], bool],
    ) -> Emulated:
        self.seen.append(counts)
        verdict = Verdict.MEETS if self.meets(counts) else Verdict.MISSES
        return Emulated(verdict, (0.9, 0.9, 0.9), 1.0, 1.0, 1.0, max(stages), {})


def judged_by(judge: Judge, question: Question = QUESTION) -> Checked:
    options = [FAST, SLOW]
    return Search(question, options, seed=1, seconds_max=math.inf, simulate=judge).run()


def test_the_models_own_fleet_is_judged_first_and_by_two_runs() -> None:
    proposed = propose(QUESTION, [FAST, SLOW])
    assert proposed is not None
    judge = Judge((0.0, 0.0), 0.0)
    checked = judged_by(judge)
    assert (checked.proposed, checked.proposed_verdict) == (proposed, "meets")
    assert judge.seen[:2] == [proposed, proposed]


@settings(max_examples=examples(15))
@given(st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)), st.floats(1, 9))
def test_what_is_found_meets_the_slo_and_no_cheaper_neighbour_that_was_judged_does(
    weights: tuple[float, float], enough: float
) -> None:
    judge = Judge(weights, enough)
    checked = judged_by(judge)
    assert checked.complete
    if checked.counts is None:
        return
    assert judge.meets(checked.counts)
    near = neighbours([2.0, 0.7], checked.counts)
    assert not any(judge.meets(counts) for counts in near if counts in judge.seen)
    # Each fleet is looked at once, by two runs at most, and none within one that misses.
    assert max(judge.seen.count(counts) for counts in judge.seen) <= 2
    missed = [counts for counts in judge.seen if not judge.meets(counts)]
    for place, counts in enumerate(missed):
        assert not any(covers(earlier, counts) for earlier in missed[:place])


def test_a_fleet_that_misses_is_cut_and_the_program_is_asked_for_more() -> None:
    judge = Judge((1.0, 0.4), 4.0)
    checked = judged_by(judge)
    assert checked.proposed_verdict == "misses"
    assert checked.proposed is not None
    assert not judge.meets(checked.proposed)
    assert checked.counts is not None
    assert cost(checked.counts) > cost(checked.proposed)
    assert dict(checked.nearest[0].fleet).keys() <= {"fast", "slow"}


def test_where_every_fleet_misses_the_search_ends_without_one() -> None:
    judge = Judge((0.0, 0.0), 1.0)
    checked = judged_by(judge)
    assert (checked.counts, checked.figures, checked.complete) == (None, None, True)
    assert checked.judged <= PROPOSALS_MAX


def test_the_model_that_asks_for_too_much_is_corrected_downwards() -> None:
    tight = Question(model="a/b", rate_hz=55, slo_ms=200, share=0.95, size_cv=0.5)
    checked = judged_by(Judge((1.0, 1.0), 1.0), tight)
    assert checked.counts is not None
    assert checked.proposed is not None
    assert cost(checked.counts) < cost(checked.proposed)


def cost(counts: tuple[int, ...]) -> float:
    return 2.0 * counts[0] + 0.7 * counts[1]


@pytest.mark.nightly  # As the search with a spare.
def test_the_searched_fleet_meets_the_slo_and_its_cheaper_neighbours_miss_it() -> None:
    checked = search()
    assert checked.complete
    assert checked.counts is not None
    assert checked.figures is not None
    assert checked.figures.verdict is Verdict.MEETS
    for counts in neighbours([2.0, 0.7], checked.counts):
        if 0.9 * (40 * counts[0] + 2 / 0.12 * counts[1]) >= QUESTION.rate_hz:
            run = emulate([FAST, SLOW], counts, QUESTION, seed=77, stages=(6_000,))
            assert run.verdict is not Verdict.MEETS


@pytest.mark.nightly  # Whole searches: a quarter of a minute.
def test_with_a_spare_the_slo_holds_when_any_instance_is_gone() -> None:
    question = Question(model="a/b", rate_hz=60, slo_ms=400, share=0.95, size_cv=0.5, spare=True)
    checked = search(question)
    assert checked.counts is not None
    for lost, count in enumerate(checked.counts):
        if count:
            left = tuple(n - (i == lost) for i, n in enumerate(checked.counts))
            run = emulate([FAST, SLOW], left, question, seed=77, stages=(12_000,))
            assert run.within[0] >= question.share


def test_a_search_without_time_says_that_it_is_not_complete() -> None:
    checked = search(seconds_max=0.0)
    assert not checked.complete
    assert checked.counts is None
    made = answer(QUESTION, [FAST, SLOW], task="chat", check_seconds=1e-9)
    assert made.fleet is not None  # The model's own stays.
