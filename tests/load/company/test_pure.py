"""What a day with faults counts, on calls that are made up."""

import json

from tests.load import slo
from tests.load.company import report, seen
from tests.load.company.alerts import Alert, alerts_said
from tests.load.company.faults import FAULTS, Window, starts

KILL = Window(FAULTS[1], 100.0, 130.0)
EJECTED = Alert("WorkerEjected", "w-1", is_firing=False)


def call(at_s: float, total_ms: float = 100.0, *, ok: bool = True, status: int = 200) -> seen.Seen:
    return seen.Seen(at_s, "chat", status, ok, 10.0, total_ms, "")


def test_each_fault_has_as_much_time_to_itself() -> None:
    moments = [at_s for at_s, _ in starts(600.0)]
    assert moments == [50.0, 150.0, 250.0, 350.0, 450.0, 550.0]


def test_calls_under_way_in_a_fault_are_not_held_against_the_objectives() -> None:
    before, into, within = call(90.0), call(99.0, 2_000.0), call(110.0, ok=False, status=503)
    after = call(131.0, ok=False, status=0)
    calls = [before, into, within, after]
    (chat,) = (a for a in seen.outside(calls, [KILL], slo.DEFAULT_SLOS_MS).values() if a.count)
    assert (chat.count, chat.errors) == (2, 1)
    found = seen.felt(calls, KILL)
    assert (found.calls, found.failed) == (2, {503: 1})


def test_the_longest_time_without_an_answer_counts_both_ends() -> None:
    assert seen.felt([call(104.9), call(119.9)], KILL).longest_s == 15.0
    assert seen.felt([], KILL).longest_s == 30.0


def test_the_log_is_read_in_order() -> None:
    lines = [
        json.dumps(dict(zip(seen.Seen.__slots__, row, strict=True)))
        for row in (
            (2.0, "chat", 200, True, 1.0, 2.0, "b"),
            (1.0, "chat", 200, True, 1.0, 2.0, "a"),
        )
    ]
    assert [one.request_id for one in seen.read(lines)] == ["a", "b"]


def test_a_lost_call_or_a_missed_objective_fails_the_day() -> None:
    outside = slo.fresh()
    for _ in range(report.OUTSIDE_MIN):
        outside["chat", "total"].add(5.0, failed=False)
    good = report.Books(1, 0, 0, "The ledger balances.", balances=True)
    lost = report.Books(1, 1, 0, "The ledger balances.", balances=True)
    felt = [seen.felt([call(110.0, ok=False, status=0)], KILL)]

    def day(books: report.Books) -> report.Day:
        return report.Day(0.0, 2, felt, outside, 0.99, {"worker kill": {EJECTED}}, books)

    assert day(good).kept
    assert not day(lost).kept
    assert not report.Day(0.0, 0, [], slo.fresh(), 0.99, {}, good).kept
    html = report.page(day(good))
    assert "1 × no answer" in html
    assert "WorkerEjected (w-1, pending)" in html
    outside["chat", "total"].add(5.0, failed=True)
    assert not day(good).kept


def test_an_alert_is_told_once_with_what_it_is_about() -> None:
    down = 'alertname="RouterDown", alertstate="{}", instance="http://a", job="waypost-router"'
    ejected = 'alertname="WorkerEjected", alertstate="pending", severity="ticket", worker="w-1"'
    states = [down.format("firing"), down.format("pending"), ejected]
    said = "exp: nil\n got: " + ", ".join(f"{{{labels}}} 1E+00" for labels in states)
    assert alerts_said(said) == {Alert("RouterDown", "", is_firing=True), EJECTED}
