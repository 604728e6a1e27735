"""How many workers a pool should have, by its queue, its speed and its SLO. Pure.

The slots of all workers are the servers of a queue. Enough are those with which no more than
`LATE_MAX` of the calls wait longer than the SLO leaves them (Erlang C, with exponential waits), and
with which what waits already is worked off within the SLO, beside what runs. What runs says nothing
of calls to come: a single call has one worker started, not several.
"""

import math
from dataclasses import dataclass

from marketplace.planning.advisor.fleets.queueing import waiting_probability

LATE_MAX = 0.01
"""Share of calls that may wait for too long."""

SLACK_MIN = 0.05
"""Of a service time: what an SLO leaves for waiting at least, however tight it is."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a pool now. ``slots`` are those of one worker.

    ``rate_hz`` are calls a second, ``waiting`` those that wait and could run here. ``service_ms``
    is 0 where nothing is known, ``slo_ms`` 0 where none is set: then a call may wait as long as it
    takes.
    """

    rate_hz: float
    waiting: float
    in_flight: int
    service_ms: float
    slo_ms: float
    slots: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Workers that a pool has at least and at most."""

    least: int
    most: int


def desired_workers(demand: Demand, bounds: Bounds) -> int:
    """Workers that the pool should have now, within its bounds."""
    steady, backlog = steady_slots(demand), backlog_slots(demand)
    taken = backlog + demand.in_flight
    if steady <= 0 and taken <= 0:
        return bounds.least
    counts = range(max(bounds.least, 1), bounds.most + 1)
    enough = (
        n
        for n in counts
        if taken <= n * demand.slots
        and _late_share(n * demand.slots - backlog, steady, demand) <= LATE_MAX
    )
    return next(enough, bounds.most)


def steady_slots(demand: Demand) -> float:
    """Slots that are busy in the mean if nobody waits."""
    return demand.rate_hz * demand.service_ms / 1e3


def backlog_slots(demand: Demand) -> float:
    """Slots that work off what waits already, within the SLO."""
    allowed_ms = max(demand.slo_ms, demand.service_ms)
    return demand.waiting * demand.service_ms / allowed_ms if demand.service_ms else demand.waiting


def _late_share(servers: float, steady: float, demand: Demand) -> float:
    """Share of the calls that wait longer than the SLO leaves after their service."""
    if servers < steady or servers < 0:
        return 1.0
    if demand.service_ms <= 0 or steady <= 0:
        return 0.0  # Nothing comes, or nothing is known but that there are enough.
    if int(servers) <= steady:
        return 1.0
    if not demand.slo_ms:
        return 0.0  # A call may wait as long as it takes; those that wait are the backlog.
    waits = waiting_probability(int(servers), steady)
    slack = max((demand.slo_ms - demand.service_ms) / demand.service_ms, SLACK_MIN)
    return waits * math.exp(-(int(servers) - steady) * slack)
