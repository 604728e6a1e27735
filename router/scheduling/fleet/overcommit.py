"""How many requests beyond its limit a worker is sent.

Without a request in reserve, a slot idles from its answer until the next request arrives: a round
trip, which is a share RTT/S of its capacity. About ``slots × RTT/S`` requests in reserve hide it
(Little's law). One is the least that helps. More than one round of slots only moves the queue to
where it can no longer be reordered.
"""

from math import ceil


def credit(slots: int, service_s: float, rtt_s: float) -> int:
    """Requests that may wait at a worker with ``slots`` slots: 1 to ``slots``."""
    if service_s <= 0:
        return 1
    return max(1, min(slots, ceil(slots * rtt_s / service_s)))
