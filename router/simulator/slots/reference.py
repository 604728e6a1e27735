"""The preemptive reference: better than any router can be.

It moves requests between machines at any moment, for free, and knows every speed. The oldest
requests always run on the fastest slots, each at its slot's speed. So nothing waits while a slot is
free, and nothing runs slowly while a faster slot idles.
"""

import itertools
from collections.abc import Iterable
from math import inf

from router.simulator.slots.machine import Machine
from router.simulator.slots.simulation import Result
from router.simulator.workload import Arrival


def preemptive(
    machines: Iterable[Machine], arrivals: Iterable[Arrival], count: int, network_ms: float
) -> list[Result]:
    """Latencies of the first ``count`` arrivals. Trouble and batch curves are not modelled."""
    speeds = sorted((1e3 / m.service_ms for m in machines for _ in range(m.slots)), reverse=True)
    left: list[float] = []
    since: list[Arrival] = []
    results: list[Result] = []
    now_s = 0.0
    source = itertools.islice(arrivals, count)
    upcoming = next(source, None)
    while upcoming is not None or left:
        at_s = upcoming.at_s if upcoming is not None else inf
        step_s = at_s - now_s
        first = -1
        for place, (work, speed) in enumerate(zip(left, speeds, strict=False)):
            if work < step_s * speed:
                step_s, first = work / speed, place
        for place in range(min(len(left), len(speeds))):
            left[place] -= step_s * speeds[place]
        now_s += step_s
        if first >= 0:
            done = since.pop(first)
            left.pop(first)
            results.append(Result(done.at_s, now_s - done.at_s + network_ms / 1e3))
        elif upcoming is not None:
            left.append(upcoming.size)
            since.append(upcoming)
            upcoming = next(source, None)
    return results
