"""When more streams wait than can be answered in time, for longer than a moment."""

import pytest

from router.domain.request import Priority
from router.scheduling.fleet.fleet import Fleet
from router.scheduling.waiting.overload import LASTING_S, PAUSE_S, Overload
from router.scheduling.waiting.queue import FRESH_S, Queue
from tests.unit.router.scheduling.fleets import endpoint, ticket

FLEET = Fleet()
FLEET.apply([endpoint("a")])
SLATE = FLEET.slate(("a",))
EVERY_S = 0.1


class Line:
    """A stream comes every tenth of a second, and is served after ``served_s``."""

    def __init__(self) -> None:
        self.overload = Overload()
        self.queue = Queue()
        self.now_s = 0.0

    def comes(self, **more: object) -> None:
        one = ticket(str(self.now_s), "a", now_s=self.now_s, streams=True, **more)  # type: ignore[arg-type]
        self.overload.queued(self.queue.add(one, SLATE))

    def runs(self, seconds: float, *, served_s: float) -> bool:
        """Whether the overload lasts in the end."""
        for _ in range(round(seconds / EVERY_S)):
            self.now_s += EVERY_S
            self.comes()
            for queued in self.queue:
                if queued.ticket.arrived_s <= self.now_s - served_s:
                    self.queue.remove(queued.ticket, self.now_s)
            lasts = self.overload.lasts(self.now_s)
        return lasts


def test_an_overload_lasts_once_streams_have_become_late_for_a_while() -> None:
    line = Line()
    assert not line.runs(LASTING_S, served_s=5.0)
    assert line.runs(2 * FRESH_S, served_s=5.0)


def test_a_pause_in_which_no_stream_becomes_late_ends_an_overload() -> None:
    line = Line()
    assert line.runs(LASTING_S + 1, served_s=5.0)
    assert not line.runs(PAUSE_S + FRESH_S, served_s=0.0)
    assert not line.runs(LASTING_S, served_s=5.0), "the next one begins anew"


def test_streams_that_are_served_in_time_are_no_overload() -> None:
    assert not Line().runs(2 * LASTING_S, served_s=0.5 * FRESH_S)


@pytest.mark.parametrize(("more", "lasts"), [({"priority": Priority.BATCH}, True), ({}, False)])
def test_waiting_batch_work_counts_at_once(more: dict[str, Priority], lasts: bool) -> None:
    line = Line()
    line.comes(**more)
    assert line.overload.lasts(0.0) is lasts
    for queued in line.queue:
        line.queue.remove(queued.ticket)
    assert not line.overload.lasts(0.0)


def test_a_stream_with_its_own_deadline_says_itself_what_is_late() -> None:
    line = Line()
    for _ in range(round(2 * LASTING_S / EVERY_S)):
        line.now_s += EVERY_S
        line.comes(deadline_s=100.0)
        assert not line.overload.lasts(line.now_s)
