"""What is decided without a clock: the work, the oracle, what answers come to, the tables."""

from collections.abc import Sequence
from math import inf

import msgspec
import pytest

from router.simulator.engines.sessions import Load as Chats
from router.simulator.engines.sessions import plan
from tests.judge.callers import load
from tests.judge.callers.http_client import Answer
from tests.judge.callers.sessions import Writer
from tests.judge.figures.results import (
    TIMEOUT,
    Record,
    Result,
    record_of,
    shares_by_kind,
    summary,
)
from tests.judge.figures.table import comparison, fill, scenario_table, wanted
from tests.judge.lanes import rounds
from tests.judge.oracles.slot_oracle import choose
from tests.judge.scenarios import CAPACITY_HZ, SCENARIOS, Goal, Phase, Poisson
from tests.judge.workers.engines import Body, Message, sequence_of
from tests.judge.workers.fleet import call_text, called
from tests.judge.workers.hardware import Allowance, SlotClass
from tests.judge.workers.slots import service_s

CALM, BUSY = Phase(5, 20), Phase(5, 200)


def test_calls_come_as_often_as_their_phase_says_and_the_same_for_everybody() -> None:
    due = load.arrivals((CALM, BUSY), 20, seed=3)
    assert due == sorted(due) == load.arrivals((CALM, BUSY), 20, seed=3)
    assert due != load.arrivals((CALM, BUSY), 20, seed=4)
    calm = [at_s for at_s in due if at_s % 10 < 5]
    assert len(calm) == pytest.approx(200, rel=0.3)
    assert len(due) - len(calm) == pytest.approx(2000, rel=0.1)
    assert due[-1] < 20
    poisson = Poisson((CALM, BUSY))
    assert [poisson.calls_hz(at_s) for at_s in (0, 4.9, 5, 12, 17)] == [20, 20, 200, 20, 200]


def test_a_call_is_as_large_wherever_it_goes_and_its_mean_is_the_workers() -> None:
    fast, slow = SlotClass("A", 100), SlotClass("B", 300)
    sizes = [service_s(fast, 1, number) for number in range(20_000)]
    assert sum(sizes) / len(sizes) == pytest.approx(0.1, rel=0.02)
    assert service_s(slow, 1, 7) == pytest.approx(3 * sizes[7])
    assert service_s(fast, 2, 7) != sizes[7]
    assert service_s(SlotClass("Z", 0), 1, 7) == 0


def test_an_allowance_fills_to_one_seconds_calls() -> None:
    allowance = Allowance(4)
    for _ in range(4):
        assert allowance.left(10.0) >= 1
        allowance.take()
    assert allowance.left(10.2) < 1
    assert allowance.left(10.3) >= 1
    assert allowance.left(99) == 4


def test_a_prompt_says_which_call_it_is() -> None:
    assert called(load.body(31, seed=1, events=5)) == (31, 5)
    history = f"{call_text(1, 2)} … {call_text(3, 4)}".encode()
    assert called(history) == (3, 4)
    assert called(b"is anybody there?") == (0, 1)


def test_engines_count_of_a_chat_what_the_simulator_plans() -> None:
    for name in ("e-sess75", "e-shared", "e-mixed75"):
        chats = SCENARIOS[name].load
        assert isinstance(chats, Chats)
        writer = Writer(1)
        for session in plan(chats, 3.0, 8, 1):
            messages = [Message(role, text) for role, text in writer.said(session)]
            system = len(messages) % 2
            before: list[tuple[int, int]] = []
            for at, turn in enumerate(session.turns):
                sequence, _ = sequence_of(Body(messages[: system + 2 * at + 1]))
                assert sequence.prompt_tokens == turn.prompt_tokens
                assert sequence.answer_events == turn.answer_events
                assert [end for _, end in sequence.chain] == [end for _, end in turn.chain]
                # The prompt before is a beginning of this one.
                assert sequence.chain[: len(before)] == before
                before = [*sequence.chain]


@pytest.mark.parametrize(
    ("services_s", "free", "queued", "chosen"),
    [
        ([0.1, 0.1, 1.0], [1, 2, 3], 1, 1),  # The fastest; of two, that with more room.
        ([0.1, 0.1, 1.0], [0, 0, 3], 1, None),  # A fast one comes free sooner than 1 s.
        ([0.1, 0.1, 1.0], [0, 0, 3], 99, 2),  # But not for that many.
        ([inf, inf, 1.0], [2, 2, 3], 1, 2),
        ([inf, inf, 1.0], [2, 2, 0], 1, None),
    ],
)
def test_the_oracle_uses_a_slow_worker_only_where_it_pays(
    services_s: Sequence[float], free: Sequence[int], queued: int, chosen: int | None
) -> None:
    assert choose(services_s, [2, 2, 3], free, queued=queued, calls_hz=20) == chosen


def test_an_answer_counts_from_when_it_was_due_and_has_to_be_whole() -> None:
    whole = b'"content": "w03: tok tok " "prompt_tokens": 30, "cached_tokens": 16 data: [DONE]'
    record = record_of(Answer(200, whole, 10.5, 11.0), due_s=10.0, start_s=8.0, events=2)
    assert record == Record(2.0, 1.0, 0.5, "", "w03", 2, 30, 16)
    assert record.event_s == 0.5

    def error(answer: Answer) -> str:
        return record_of(answer, due_s=10, start_s=8, events=2).error

    assert error(Answer(200, whole.replace(b"[DONE]", b""), 10.5, 11)) == "cut short"
    assert error(Answer(200, whole.replace(b"tok tok", b"tok"), 10.5, 11)) == "cut short"
    assert error(Answer(200, b"{}", 10.5, 11)) == "not an answer"
    assert error(Answer(503, b"{}", 10.5, 11)) == "http 503"
    assert error(Answer(0, b"", 0, 11, "reset")) == "reset"


def test_an_error_counts_as_a_callers_whole_patience() -> None:
    records = [
        Record(0, 0.1, 0.05, worker="w00", events=2, prompt_tokens=100, cached_tokens=75),
        Record(1, 0.5, 0.4, worker="w01", events=2, prompt_tokens=100),
        Record(2, 0.2, error="http 500"),
        Record(3, 15.0, error=TIMEOUT),
    ]
    seen = summary(records, seconds=4, goal=Goal(whole_ms=300), timeout_s=15)
    assert (seen.calls, seen.calls_hz, seen.failed) == (4, 1, 2)
    assert seen.mean_ms == pytest.approx(300)
    assert seen.penalised_ms == pytest.approx((100 + 500 + 15_000 + 15_000) / 4)
    assert seen.good_share == 0.25
    assert seen.hit_share == 0.375
    assert seen.event_ms == pytest.approx(75)
    assert not Record(0, 0.1, 0.05, events=2).meets(Goal(event_ms=40))
    assert shares_by_kind(records, {"w00": "A", "w01": "B"}) == {"A": 0.5, "B": 0.5}
    nothing = summary([], seconds=4, goal=Goal(), timeout_s=15)
    assert (nothing.calls, nothing.mean_ms, nothing.good_share) == (0, 0, 0)


def test_targets_are_spread_over_rounds_and_none_is_always_first() -> None:
    names = list("abcdefgh")
    assert [len(some) for some in rounds(names, 0, 6)] == [4, 4]
    for seed in range(10):
        turned = rounds(names, seed, 3)
        assert sorted(name for some in turned for name in some) == names
    assert len({rounds(names, seed, 3)[0][0] for seed in range(8)}) == 8


def test_stages_are_before_during_and_after_what_happens() -> None:
    assert SCENARIOS["hetero70"].stages == {}
    assert SCENARIOS["straggler"].stages == {
        "before": (5, 12),
        "during": (12, 32),
        "after": (32, 45),
    }
    assert list(SCENARIOS["limited"].stages) == ["during"]


def test_the_fleet_can_do_what_its_slots_and_services_say() -> None:
    assert pytest.approx(2 * 30 + 3 * 20 + 4 * 10 + 3 * 3) == CAPACITY_HZ


# --- tables ----------------------------------------------------------------------------------


def _result(target: str, mean_s: float, scenario: str = "hetero70", lag_ms: float = 1) -> Result:
    record = Record(0, mean_s, worker="w00")
    seen = summary([record], seconds=1, goal=Goal(whole_ms=600), timeout_s=15)
    return Result(
        scenario, target, 1, "2030-01-02 03:04:05", summary=seen, late_ms_p99=lag_ms, gateway_us=9
    )


DOCUMENT = """# Beside others
<!-- judge hetero70 hetero85: begin -->
old
<!-- judge: end -->
between
<!-- judge e-long: begin -->
older
<!-- judge: end -->
"""


def test_a_terminal_gets_the_best_first_beside_the_oracle() -> None:
    failed = Result("hetero70", "smg-cache", 1, "now", failed="it did not start")
    table = scenario_table([_result("nginx-lc", 0.2), failed, _result("oracle", 0.1)])
    head, best, next_, last = table.splitlines()
    assert head.startswith("hetero70")
    assert (best.split()[0], best.split()[-1]) == ("oracle", "1.00")
    assert (next_.split()[0], next_.split()[-1]) == ("nginx-lc", "2.00")
    assert last == "smg-cache        failed: it did not start"


def test_a_run_that_lagged_is_marked_and_goes_into_no_document() -> None:
    late = _result("nginx-lc", 0.2, lag_ms=25)
    assert "†" in scenario_table([late])
    text, left = fill(DOCUMENT, [late, _result("nginx-lc", 0.2, "hetero85")])
    assert text == DOCUMENT
    assert left == [
        "hetero70 hetero85: hetero70 is not to be trusted, run it again",
        "e-long: e-long was not measured",
    ]


def test_a_document_gets_the_tables_that_are_whole() -> None:
    assert wanted(DOCUMENT) == ["hetero70", "hetero85", "e-long"]
    with pytest.raises(ValueError, match="no scenario 'chess'"):
        wanted(DOCUMENT.replace("e-long", "chess"))
    results = [
        _result(target, mean_s, scenario)
        for scenario in ("hetero70", "hetero85")
        for target, mean_s in (("oracle", 0.1), ("ours", 0.2))
    ]
    text, left = fill(DOCUMENT, results)
    assert left == ["e-long: e-long was not measured"]
    assert comparison([results[:2], results[2:]]) in text
    assert "| scenario | *oracle* | **ours** |" in text
    assert "| hetero85 | 100 / 100, 100.0 % | 200 / 200, 100.0 % |" in text
    assert "old\n" not in text
    assert "older\n" in text
    assert fill(text, results) == (text, left)


def test_raw_results_are_read_as_they_were_written() -> None:
    result = _result("ours", 0.2)
    assert msgspec.json.decode(msgspec.json.encode([result]), type=list[Result]) == [result]
