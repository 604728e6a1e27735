"""How long an endpoint takes for a mean request, for every kind of worker, and what it shares with
the other endpoints of its deployment.
"""

from math import inf

from router.domain.catalog import EngineCurve
from router.scheduling.estimates.batch_curve import BatchCurve
from router.scheduling.estimates.estimate import SMOOTHING, ServiceEstimate
from router.scheduling.estimates.sharing import Sharing
from router.scheduling.estimates.slowdown import Slowdown
from router.scheduling.worker_models.engine_speed import EngineSpeed

POOL_SMOOTHING = 0.02
STRAGGLING = 1.5
"""A worker that takes this many times longer than its deployment's workers is a straggler."""


class Looking:
    """The base of what is computed for a worker and holds until ``recheck_s``."""

    __slots__ = ("recheck_s",)

    recheck_s: float


class DeploymentSpeed:
    """What the workers of one deployment have shown together; new ones begin with it.

    ``prior_s`` and ``engine_prior`` are the figures of the latest benchmark (0, None = nothing).
    ``has_engines`` says that some worker turned out to be an engine. ``engines`` is what those have
    shown, and ``sharing`` is the evidence for it.
    """

    __slots__ = (
        "engine_prior",
        "engines",
        "estimate",
        "has_engines",
        "prior_s",
        "probe_work",
        "sharing",
        "unmeasured",
    )

    def __init__(self, prior_s: float, engines: EngineSpeed) -> None:
        self.prior_s = prior_s
        self.engine_prior: EngineCurve | None = None
        self.estimate = ServiceEstimate(prior_s)
        self.unmeasured: set[Service] = set()
        self.probe_work = 0.0
        self.engines = engines
        self.has_engines = False
        self.sharing = Sharing()

    def engines_benchmarked(self, curve: EngineCurve) -> None:
        """Take a benchmark of how its engines read and answer. A repeated one counts once."""
        if curve != self.engine_prior:
            self.engine_prior = curve
            self.engines.benchmarked(curve)


class Service:
    """Seconds per unit of work of one endpoint. If they change, ``worker`` has to look again.
    ``curve`` is how they depend on concurrency. ``generates`` says whether answers have tokens.
    """

    __slots__ = ("curve", "estimate", "generates", "shared", "slowdown", "worker")

    def __init__(
        self,
        shared: DeploymentSpeed,
        worker: Looking,
        prior_s: float,
        curve: BatchCurve,
        *,
        generates: bool = True,
    ) -> None:
        self.shared = shared
        self.worker = worker
        self.curve = curve
        self.generates = generates
        self.estimate = ServiceEstimate(
            shared.estimate.seconds if shared.estimate.samples else prior_s
        )
        self.slowdown = Slowdown()
        shared.unmeasured.add(self)

    @property
    def is_straggler(self) -> bool:
        """Whether it is much slower than the deployment's workers together."""
        return self.estimate.seconds > STRAGGLING * self.shared.estimate.seconds

    def benchmarked(self, prior_s: float) -> None:
        """The deployment has another benchmark, which takes effect at once."""
        shared = self.shared
        if shared.prior_s != prior_s:
            shared.prior_s = prior_s
            shared.estimate.benchmarked(prior_s)
        self.estimate.benchmarked(prior_s)
        self.worker.recheck_s = -inf

    def observe(self, service_s: float, work: float, smoothing: float = SMOOTHING) -> None:
        """Learn from one completed service, for this endpoint and for its deployment."""
        shared = self.shared
        self.estimate.observe(service_s, work, smoothing)
        shared.estimate.observe(service_s, work, POOL_SMOOTHING)
        shared.unmeasured.discard(self)
        for sibling in shared.unmeasured:
            sibling.estimate.expect(shared.estimate.seconds)
            sibling.worker.recheck_s = -inf
        self.worker.recheck_s = -inf

    def was_outrun(self, age_s: float, work: float) -> None:
        """Learn from a service that was stopped at this age and would have gone on.

        The rest is imputed as expected, or only quick services would count. Before anything is
        known, the age is just a lower bound.
        """
        if self.estimate.samples:
            self.observe(age_s + self.estimate.seconds * work, work)
        else:
            self.estimate.at_least(age_s / work)
            self.worker.recheck_s = -inf
