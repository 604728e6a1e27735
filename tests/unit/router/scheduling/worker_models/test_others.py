"""What routers tell each other of the engines that they share, and what they make of it."""

import pytest

from router.contracts.engines.engine_report import EngineReport
from router.contracts.word import NO_LOAD, Load, Word
from router.scheduling.attempts.endings import GIVEN_UP
from router.scheduling.caches.affinity import LATEST_MAX, OTHERS_MAX, PrefixIndex
from router.scheduling.decisions import Dispatch
from router.scheduling.worker_models.batch import Batch, Generation
from router.scheduling.worker_models.others import AVERAGED_S, OwnLoad, corrected, together
from tests.unit.router.scheduling.fleets import endpoint, scheduler
from tests.unit.router.scheduling.worker_models.test_placing_on_engines import asked, engine, sent

THEIRS = Load(2.0, 3_000.0, 6.0, 9_000.0, 500.0)


def generation(prompt: float, now_s: float) -> Generation:
    return Generation(prompt, prompt, streams=True, now_s=now_s)


def test_the_load_of_other_routers_counts_in_the_batch_until_it_is_replaced() -> None:
    batch = Batch()
    one = generation(400.0, 0.0)
    batch.begin(one, 0.0)
    batch.set_others(THEIRS, 0.0)
    assert (batch.pending_tokens, batch.context_tokens, batch.decoding) == (3_400, 9_400, 6)
    batch.first(one, 1.0)
    assert (batch.pending_tokens, batch.decoding) == (3_000, 7)
    batch.set_others(NO_LOAD, 2.0)
    batch.end(one, 2.0)
    assert (batch.pending_tokens, batch.context_tokens, batch.decoding) == (0, 0, 0)


def test_a_routers_own_load_leaves_out_that_of_others() -> None:
    alone, beside = Batch(), Batch()
    beside.set_others(THEIRS, 0.0)
    means = [OwnLoad(alone), OwnLoad(beside)]
    for batch in (alone, beside):
        first, second = generation(1_000.0, 0.0), generation(200.0, 1.0)
        batch.begin(first, 0.0)
        batch.begin(second, 1.0)
        batch.first(first, 2.0)
    beside.set_others(Load(decoding=3.0), 2.5)
    mine, mine_beside = (mean.mean(4.0) for mean in means)
    assert mine == Load(1, 200.0, 0.5, (1_000 * 4 + 200 * 3) / 4, 250.0)
    assert [*mine_beside.__reduce__()[1]] == pytest.approx([*mine.__reduce__()[1]])


def test_a_load_is_told_as_an_average_and_follows_within_seconds() -> None:
    batch, now_s = Batch(), 0.0
    mean = OwnLoad(batch)
    for _ in range(10):
        now_s += 1.0
        mean.mean(now_s)
    one = generation(100.0, now_s)
    batch.begin(one, now_s)
    batch.first(one, now_s)
    soon = mean.mean(now_s + 1.0).decoding
    assert 0 < soon < 0.3, "not what is there at this moment"
    later = [mean.mean(now_s + 1.0 + second).decoding for second in range(1, 20)]
    assert later == sorted(later)
    assert later[-1] == pytest.approx(1.0, abs=0.05)
    assert AVERAGED_S < 10


def test_an_engine_that_others_use_is_avoided() -> None:
    made = scheduler(engine("left"), engine("right"))
    sent(made, asked("opens", "left", "right", now_s=0.0))
    for busy, free in (("left", "right"), ("right", "left")):
        made.others_said([Word({busy: THEIRS}), Word({"gone": THEIRS})], 0.0)
        (decision,) = made.arrive(asked(busy, "left", "right", now_s=0.0), 0.0)
        assert isinstance(decision, Dispatch)
        assert decision.attempt.endpoint.id == free
        made.ended(decision.attempt, GIVEN_UP, 0.0)


def test_the_loads_of_all_others_add_up_and_the_last_word_counts() -> None:
    made = scheduler(engine("e"))
    sent(made, asked("opens", "e", now_s=0.0))
    batch = made.fleet.workers["e"].model.batch  # type: ignore[attr-defined]
    made.others_said([Word({"e": THEIRS}), Word({"e": THEIRS})], 1.0)
    assert batch.others == together([THEIRS, THEIRS])
    made.others_said([Word({"e": THEIRS})], 2.0)
    assert batch.others == THEIRS
    made.others_said([], 3.0)
    assert batch.others == NO_LOAD


def test_no_load_is_shared_of_workers_with_slots() -> None:
    made = scheduler(endpoint("slots"), engine("e"))
    sent(made, asked("opens", "e", now_s=0.0))
    assert set(made.word(1.0).loads) == {"e"}
    made.others_said([Word({"slots": THEIRS})], 1.0)
    assert made.fleet.workers["slots"].has_room


def test_the_next_turn_of_a_chat_is_found_where_another_router_sent_the_last() -> None:
    mine, theirs = PrefixIndex(), PrefixIndex()
    theirs.sent((1, 2, 3), "a")
    mine.sent((1,), "b")
    for endpoint_id, blocks in theirs.latest().items():
        mine.others_sent(endpoint_id, blocks)
    assert mine.cached((1, 2, 3, 4)) == {"a": 3, "b": 1}
    assert mine.cached((1, 2, 9)) == {"b": 1}


def test_the_prompts_shared_with_and_remembered_of_others_are_bounded() -> None:
    index = PrefixIndex()
    for block in range(LATEST_MAX + 10):
        index.sent((block,), "a")
    assert index.latest() == {"a": tuple(range(10, LATEST_MAX + 10))}
    index.others_sent("b", range(-OTHERS_MAX - 5, 0))
    assert index.cached((-OTHERS_MAX - 1,)) == {}
    assert index.cached((-OTHERS_MAX,)) == {"b": 1}
    index.keep_only({"a"})
    assert index.cached((-1,)) == {}


def test_requests_beyond_the_reported_load_count_as_answers_to_mean_prompts() -> None:
    assert corrected(THEIRS, 11.0, 500.0) == Load(2.0, 3_000.0, 9.0, 10_500.0, 500.0)


def test_a_load_is_scaled_down_if_the_engine_counts_fewer_requests() -> None:
    assert corrected(THEIRS, 2.0, 500.0) == Load(0.5, 750.0, 1.5, 2_250.0, 125.0)
    assert corrected(THEIRS, 0.0, 500.0) == NO_LOAD


def test_a_routers_own_requests_are_not_taken_for_work_of_others() -> None:
    made = scheduler(engine("e"))
    sent(made, asked("own", "e", now_s=0.0))
    batch = made.fleet.workers["e"].model.batch  # type: ignore[attr-defined]
    made.reported("e", EngineReport(1.0), 0.0)
    assert batch.others == NO_LOAD
    made.reported("e", EngineReport(0.0), 1.0)
    assert batch.others == NO_LOAD
    made.reported("e", EngineReport(9.0), 1_000.0)
    assert batch.others.decoding == pytest.approx(8.0)
    made.reported("gone", EngineReport(9.0), 1_000.0)
