"""Refusing early what could only be answered too late.

A request that will miss its deadline is better told at once, with a truthful time to come back,
than after it has waited (load shedding as in Google's *Site Reliability Engineering*, chapter 21):
its client can go elsewhere, and those behind it do not wait for nothing.
"""

from collections.abc import Sequence

from router.scheduling.fleet import EndpointState

RETRY_AFTER_MIN_S = 0.1
OWN_PER_FREE = 4


def may_wait(own: int, waiting: int, waiting_max: int) -> bool:
    """Whether a tenant that has ``own`` of the ``waiting`` requests may have one more.

    It may have four times as many as are free (dynamic thresholds; Choudhury and Hahne 1998). So
    one tenant by itself fills four fifths of a queue, two fill four ninths each, and who has
    nothing waiting finds room however many calls another one makes.
    """
    return own < OWN_PER_FREE * (waiting_max - waiting)


def wait_s(work_ahead: float, usable: Sequence[EndpointState]) -> float:
    """Expected seconds until ``work_ahead`` units have gone through these endpoints.

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
    """By how much an answer would miss its deadline, at best; negative when it would not."""
    service_s = min(state.model.effective_s for state in usable) * work
    return now_s + waiting_s + service_s - deadline_s
