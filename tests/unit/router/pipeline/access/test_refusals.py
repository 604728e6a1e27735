"""Refused calls are counted for who made them, and nothing else is."""

from collections.abc import Mapping

import pytest

from router.domain.errors import CallError, LedgerUnavailable
from router.domain.money import Purse
from router.pipeline.access.refusals import HOUR_MS, KINDS_MAX, Refusals
from router.pipeline.plans.routing_table import Grant
from router.ports.records import RefusalCount
from router.ports.upstream import Answer
from tests.unit.router.pipeline.line import USED, FakeUpstream, Line

GRANT = Grant(7, Purse(1), key_id=3, user_id=5)
NOW_S = 10 * HOUR_MS / 1_000 + 59


class Sink:
    def __init__(self) -> None:
        self.away = False
        self.calls: dict[RefusalCount, int] = {}

    async def add_refusals(self, counted: Mapping[RefusalCount, int]) -> None:
        if self.away:
            raise LedgerUnavailable("away")
        for kind, calls in counted.items():
            self.calls[kind] = self.calls.get(kind, 0) + calls


async def test_they_are_brought_once_by_hour_and_kind() -> None:
    sink = Sink()
    refusals = Refusals(sink, clock=lambda: NOW_S)
    for _ in range(3):
        refusals.count(GRANT, "a/m", "rate_limited")
    refusals.count(GRANT, "", "model_not_found")
    sink.away = True
    await refusals.flush()
    refusals.count(GRANT, "a/m", "rate_limited")
    sink.away = False
    await refusals.flush()
    await refusals.flush()
    assert sink.calls == {
        RefusalCount(7, 10 * HOUR_MS, 3, 5, "a/m", "rate_limited"): 4,
        RefusalCount(7, 10 * HOUR_MS, 3, 5, "", "model_not_found"): 1,
    }


async def test_no_more_kinds_are_kept_than_the_bound() -> None:
    sink = Sink()
    refusals = Refusals(sink, clock=lambda: NOW_S)
    for number in range(KINDS_MAX + 5):
        refusals.count(GRANT, f"m-{number}", "rate_limited")
    refusals.count(GRANT, "m-0", "rate_limited")
    await refusals.flush()
    assert len(sink.calls) == KINDS_MAX
    assert sum(sink.calls.values()) == KINDS_MAX + 1


async def test_a_call_counts_that_is_refused_before_it_is_held_for() -> None:
    sink = Sink()
    refusals = Refusals(sink, clock=lambda: NOW_S)
    answer = Answer(b"{}", "application/json", USED)
    line = Line(FakeUpstream(lambda _: answer), refusals=refusals)
    await line.call()
    with pytest.raises(CallError):
        await line.call(model="an/invented-one")
    poor = Line(FakeUpstream(lambda _: answer), funds_nano=0, refusals=refusals)
    with pytest.raises(CallError):
        await poor.call()
    await refusals.flush()
    assert {(kind.model, kind.code): calls for kind, calls in sink.calls.items()} == {
        ("", "model_not_found"): 1,
        ("a/m", "insufficient_credit"): 1,
    }
