"""Emulated workers under virtual time: slots, an inner queue, and everything that goes wrong.

A worker runs ``slots`` requests at once and queues the others in order, as inference servers do. A
request's service time is fixed when it begins: size x mean x batch factor x trouble, as they are at
that moment.
"""

from collections import deque

from msgspec import Struct

from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price
from router.scheduling.estimates.batch_curve import BatchCurve
from router.scheduling.fleet.worker import Attempt
from router.simulator.trouble import Event


class Machine(Struct, frozen=True):
    """One worker of a class. ``prior_ms`` is what the router is told (0 = nothing).

    ``deployment_id`` is that of a real deployment, which a policy's weights name. Without one (0),
    deployments are numbered by class.
    """

    name: str
    kind: str
    service_ms: float
    slots: int
    prior_ms: float = 0.0
    batch_curve: tuple[tuple[int, float], ...] = ()
    price_nano: int = 0
    events: tuple[Event, ...] = ()
    deployment_id: int = 0

    def factor(self, concurrency: int) -> float:
        """Service time with ``concurrency`` requests running, relative to one alone."""
        return BatchCurve(self.batch_curve).factor(concurrency)

    @property
    def capacity_hz(self) -> float:
        """Mean requests a second with every slot busy."""
        return self.slots / (self.service_ms / 1e3 * self.factor(self.slots))

    def endpoint(self, number: int, model: str) -> Endpoint:
        """The endpoint that the scheduler sees. Without an id, deployments are by class."""
        deployment = Deployment(
            id=self.deployment_id or number,
            model=model,
            provider=self.kind,
            provider_account_id=0,
            pool=self.kind,
            upstream_model=model,
            price=Price(number, request_nano=self.price_nano),
            service_prior_ms=self.prior_ms,
            batch_curve=self.batch_curve,
        )
        worker = Worker(self.name, self.kind, f"http://{self.name}", "openai", self.slots)
        return Endpoint(f"{self.kind}@{self.name}", deployment, worker, Pool(self.kind, self.kind))


class Job:
    """One attempt on a machine, sent by a router. ``ends_s`` is None while it waits or hangs."""

    __slots__ = ("attempt", "begun_s", "ends_s", "over", "router", "size")

    def __init__(self, attempt: Attempt, size: float, router: int) -> None:
        self.attempt = attempt
        self.router = router
        self.size = size
        self.begun_s = 0.0
        self.ends_s: float | None = None
        self.over = False


class MachineState:
    """What runs on a machine now. Times are the machine's own, without the network."""

    __slots__ = ("_curve", "_drift", "busy_s", "hung", "machine", "queue", "running", "slow", "up")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._curve = BatchCurve(machine.batch_curve)
        self._drift: Event | None = None
        self.running: set[Job] = set()
        self.queue: deque[Job] = deque()
        self.slow = 1.0
        self.up = True
        self.hung = False
        self.busy_s = 0.0

    def submit(self, job: Job, now_s: float) -> bool:
        """Take a job. True if it begins at once (``ends_s`` says until when)."""
        if len(self.running) < self.machine.slots and not self.hung:
            self._begin(job, now_s)
            return True
        self.queue.append(job)
        return False

    def finish(self, job: Job, now_s: float) -> Job | None:
        """A job has ended or was stopped. Returns the job that begins in its place, if any."""
        job.over = True
        if job in self.running:
            self.running.discard(job)
            self.busy_s += now_s - job.begun_s
        if self.hung:
            return None
        while self.queue and len(self.running) < self.machine.slots:
            following = self.queue.popleft()
            if not following.over:
                self._begin(following, now_s)
                return following
        return None

    def hang(self) -> list[Job]:
        """Everything stops."""
        self.hung = True
        for job in self.running:
            job.ends_s = None
        return list(self.running)

    def drop(self) -> list[Job]:
        """Lose everything."""
        lost = [job for job in [*self.running, *self.queue] if not job.over]
        for job in lost:
            job.over = True
        self.running.clear()
        self.queue.clear()
        return lost

    def drift(self, event: Event) -> None:
        """Begin to drift."""
        self._drift = event

    def _begin(self, job: Job, now_s: float) -> None:
        self.running.add(job)
        job.begun_s = now_s
        factor = self.slow
        if self._drift is not None:
            span_s = self._drift.to_s - self._drift.from_s
            passed_s = now_s - self._drift.from_s
            share = min(max(passed_s / span_s, 0.0), 1.0) if span_s > 0 else 1.0
            factor *= 1 + share * (self._drift.factor - 1)
        if self.machine.batch_curve:
            factor *= self._curve.factor(len(self.running))
        job.ends_s = now_s + job.size * self.machine.service_ms / 1e3 * factor
