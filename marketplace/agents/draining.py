"""Whether anything still runs on a worker that drains. Pure."""

from marketplace.routing.topology.polling import Reading


def running_on(worker_id: str, reading: Reading, version: int) -> int | None:
    """Calls of all routers there; None unless each of them answers and has that snapshot.

    A router that is behind may still send a call.
    """
    members = [heard for heard in reading.heard if heard.member.beats]
    if not members:
        return None
    running = 0
    for heard in members:
        if heard.error or heard.state is None or heard.state.snapshot_version < version:
            return None
        running += sum(worker.in_flight for worker in heard.state.workers if worker.id == worker_id)
    return running
