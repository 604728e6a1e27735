"""Which workers get a probe, and when. :mod:`router.scheduling.fleet.probing` says how often."""

from collections.abc import Iterable
from math import inf

from router.domain.catalog import OWN
from router.scheduling.attempts.sending import Sender
from router.scheduling.decisions import Probe
from router.scheduling.fleet.probing import DOUBT_S, INTERVAL_S, TRAFFIC_S
from router.scheduling.fleet.worker import WorkerState

SWEEP_S = 0.1
"""How often workers are checked for a due probe."""


class Prober:
    """Probes workers while requests come."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._arrived_s = -inf
        self._swept_s = -inf

    def arrived(self, now_s: float) -> None:
        """A client's request came."""
        self._arrived_s = now_s

    def due_s(self, now_s: float) -> float:
        """When to check the workers again; infinite without traffic."""
        return self._swept_s + SWEEP_S if now_s - self._arrived_s < TRAFFIC_S else inf

    def sweep(self, workers: Iterable[WorkerState], now_s: float) -> list[Probe]:
        """Probe the workers that are due, if it is time to check them."""
        if now_s < self.due_s(now_s):
            return []
        self._swept_s = now_s
        return [self._sender.probe(worker, now_s) for worker in workers if _is_due(worker, now_s)]


def _is_due(worker: WorkerState, now_s: float) -> bool:
    ejection, probes = worker.ejection, worker.probes
    if probes.running or not worker.endpoints:
        return False
    if ejection.is_ejected:
        return not ejection.is_open(now_s)
    if ejection.is_doubted:
        return now_s >= probes.asked_s + DOUBT_S
    if worker.endpoints[0].endpoint.deployment.provider == OWN:
        return False  # It is somebody's server, or an account with a limit: asked only if in doubt.
    if worker.inflight or now_s < probes.heard_s + INTERVAL_S:
        return False  # As most are: their speeds need no look.
    is_straggler = any(state.service.is_straggler for state in worker.endpoints)
    is_due = now_s >= probes.due_s(is_straggler=is_straggler)
    return is_due and any(state.estimate.samples for state in worker.endpoints)
