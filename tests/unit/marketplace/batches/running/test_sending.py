"""A turn of a batch, over calls that end as the test says, in time that the test gives."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from marketplace.batches.formats.capacity import WINDOW_MAX, window_for
from marketplace.batches.formats.lines import Line
from marketplace.batches.formats.results import Finished
from marketplace.batches.running import sending
from marketplace.batches.running.calls import Ask, Ended
from marketplace.batches.running.sending import Ending, Looked, Rate, Sender
from marketplace.inference.router_client import Answer

OK = Answer(200, {"x-request-id": "r"}, b"{}")
BROKE = Answer(402, {}, b'{"error": {"code": "insufficient_credit", "message": "No credit."}}')


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeCalls:
    """Each call takes a second and ends as ``answer`` says, the first that began first."""

    clock: Clock
    answer: Callable[[Ask, int], Answer | Ended]
    waiting: list[Ask] = field(default_factory=list)
    most: int = 0
    begun: list[str] = field(default_factory=list)

    @property
    def running(self) -> int:
        return len(self.waiting)

    @property
    def running_bytes(self) -> int:
        return sum(len(ask.body) for ask in self.waiting)

    def begin(self, ask: Ask) -> None:
        self.waiting.append(ask)
        self.begun.append(ask.idempotency_key)
        self.most = max(self.most, self.running)

    def ended(self, timeout_s: float) -> Ended | None:
        self.clock.now_s += 1.0
        ask = self.waiting.pop(0)
        answer = self.answer(ask, self.running)
        return answer if isinstance(answer, Ended) else Ended(ask, answer)


@dataclass
class World:
    """A batch of lines, with what was stored and reported."""

    lines: Iterable[Line]
    answer: Callable[[Ask, int], Answer | Ended] = lambda ask, running: OK
    looked: Callable[[float], Looked] = lambda now_s: Looked(False, 1e6, 4)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.calls = FakeCalls(self.clock, self.answer)
        self.parts: list[Finished] = []
        self.told: list[tuple[int, int, float]] = []
        self.sender = Sender(
            batch_id="batch_1",
            path="/v1/chat/completions",
            items=iter(self.lines),
            calls=self.calls,  # type: ignore[arg-type]
            look=lambda: self.looked(self.clock.now_s),
            keep=self.parts.append,
            tell=lambda *counts: self.told.append(counts),
            clock=self.clock,
        )

    @property
    def kept(self) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for part in self.parts:
            for number, result in part.results.items():
                assert number not in found, "a line ends once"
                found[number] = json.loads(result.text)
        return found


def lines(count: int, size: int = 2) -> list[Line]:
    return [Line(number, str(number), b"x" * size, "m") for number in range(1, count + 1)]


def test_every_line_is_sent_once_and_kept_and_no_more_are_under_way_than_may_be() -> None:
    world = World(lines(30))
    assert world.sender.turn() is Ending.DONE
    assert sorted(world.kept) == list(range(1, 31))
    assert world.calls.begun == [f"batch_1:{number}" for number in range(1, 31)]
    assert world.calls.most == 4
    assert len(world.parts) > 1, "what ended is kept every few seconds"


def test_long_bodies_are_under_way_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "IN_FLIGHT_BYTES_MAX", 100)
    world = World([*lines(2, size=500), Line(3, "3", b"x", "m")])
    assert world.sender.turn() is Ending.DONE
    assert world.calls.most == 1
    assert sorted(world.kept) == [1, 2, 3]


@pytest.mark.parametrize(
    ("looked", "ending"),
    [(Looked(True, 1e6, 4), Ending.CANCELLED), (Looked(False, 0.0, 4), Ending.EXPIRED)],
)
def test_a_batch_that_must_end_keeps_what_is_under_way(looked: Looked, ending: Ending) -> None:
    world = World(lines(30), looked=lambda now_s: Looked(False, 1e6, 4) if now_s < 5 else looked)
    assert world.sender.turn() is ending
    assert sorted(world.kept) == list(range(1, len(world.calls.begun) + 1))
    assert 5 <= len(world.kept) < 30


def test_a_turn_ends_after_its_time() -> None:
    world = World(lines(1_000))
    assert world.sender.turn() is Ending.TURN
    assert sending.TURN_S <= world.clock.now_s < sending.TURN_S + sending.DRAIN_S
    assert sorted(world.kept) == list(range(1, len(world.calls.begun) + 1))


def test_credit_that_runs_out_ends_the_sending_and_says_so() -> None:
    def answer(ask: Ask, running: int) -> Answer:
        return OK if ask.number <= 10 else BROKE

    world = World(lines(30), answer)
    assert world.sender.turn() is Ending.HALTED
    assert world.sender.halted == ("insufficient_credit", "No credit.")
    assert {n for n, row in world.kept.items() if row["response"]["status_code"] == 200} == set(
        range(1, 11)
    )
    assert len(world.kept) < 15, "the rest is not sent"


def test_credit_held_for_the_others_only_slows_the_sending_down() -> None:
    world = World(lines(30), lambda ask, running: BROKE if running else OK)
    assert world.sender.turn() is Ending.DONE
    assert {row["response"]["status_code"] for row in world.kept.values()} == {200}
    assert len(world.kept) == 30


def test_a_caller_who_may_no_longer_call_ends_the_sending() -> None:
    def answer(ask: Ask, running: int) -> Answer | Ended:
        return Ended(ask, error="They left.", gone=True) if ask.number == 3 else OK

    world = World(lines(30), answer)
    assert world.sender.turn() is Ending.HALTED
    assert world.sender.halted == ("not_allowed", "They left.")


def test_a_line_that_fails_is_for_the_error_file_and_the_others_go_on() -> None:
    def answer(ask: Ask, running: int) -> Answer | Ended:
        if ask.number == 2:
            return Ended(ask, error="no router")
        return Answer(422, {}, b"{}") if ask.number == 3 else OK

    world = World(lines(5), answer)
    assert world.sender.turn() is Ending.DONE
    failed = [number for part in world.parts for number, r in part.results.items() if r.failed]
    assert sorted(failed) == [2, 3]
    assert world.kept[2]["error"] == {"code": "router_unreachable", "message": "no router"}


def test_what_ended_is_kept_though_the_job_is_stopped() -> None:
    world = World(lines(30))
    stopped = RuntimeError("stopped")

    def tell(*counts: float) -> None:
        raise stopped

    world.sender._tell = tell
    with pytest.raises(RuntimeError, match="stopped"):
        world.sender.turn()
    assert world.kept


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    rate = Rate(0.0, 100)
    assert rate.at(0.5, 200) == 0.0
    assert rate.at(10.0, 200) == 10.0
    for second in range(11, 101):
        found = rate.at(float(second), 200 + 2 * (second - 10))
    assert found == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("slots", "limits", "window"),
    [(0, [], 1), (2, [None], 4), (10, [], 16), (10, [3, None], 3), (10_000, [], WINDOW_MAX)],
)
def test_the_window_follows_the_slots(slots: int, limits: list[int | None], window: int) -> None:
    assert window_for(slots, limits) == window
