"""Refuses a request early if it could only be answered too late.

A request that will miss its deadline is better refused at once, with an honest time to come back,
than after a wait (load shedding, as in Google's *Site Reliability Engineering*, chapter 21). Its
client can go elsewhere, and the requests behind it do not wait for nothing.
"""

from collections.abc import Sequence

from router.scheduling.fleet import EndpointState

RETRY_AFTER_MIN_S = 0.1
OWN_PER_FREE = 4


def may_wait(own: int, waiting: int, waiting_max: int) -> bool:
    """Whether a tenant with ``own`` of the ``waiting`` requests may have one more.

    It may have four times as many as are free (dynamic thresholds; Choudhury and Hahne 1998). So
    one tenant alone fills four fifths of a queue, and two fill four ninths each. A tenant with
    nothing waiting always finds room, however many calls another tenant makes.
    """
    return own < OWN_PER_FREE * (waiting_max - waiting)


def wait_s(work_ahead: float, usable: Sequence[EndpointState]) -> float:
    """Expected seconds until ``work_ahead`` units have passed through these endpoints.

    0 while any of them has room.
    """
    rate = 0.0
    for state in usable:
        if state.worker.model.has_room:
            return 0.0
        rate += state.worker.model.limit / state.model.effective_s
    return work_ahead / rate if rate else 0.0


def lateness_s(
    work: float, deadline_s: float, waiting_s: float, usable: Sequence[EndpointState], now_s: float
) -> float:
    """By how much an answer would miss its deadline, at best; negative if it would not."""
    service_s = min(state.model.effective_s for state in usable) * work
    return now_s + waiting_s + service_s - deadline_s
