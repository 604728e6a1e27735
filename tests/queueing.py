"""What queueing theory says, to hold simulators and models against."""


def erlang_c_wait_s(rate_hz: float, service_s: float, servers: int) -> float:
    """Mean wait of an M/M/c queue (Erlang 1917), in seconds. ``rate_hz`` must be below capacity."""
    offered = rate_hz * service_s
    if offered >= servers:
        raise ValueError(f"{rate_hz} requests a second are more than {servers} servers can do")
    blocking = 1.0
    for count in range(1, servers + 1):  # Erlang B by its recursion: no factorials to overflow.
        blocking = offered * blocking / (count + offered * blocking)
    waits = blocking / (1 - (offered / servers) * (1 - blocking))
    return waits * service_s / (servers - offered)
