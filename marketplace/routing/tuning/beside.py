"""What the loop asks of benchmarks: a run, and a replay of recorded arrivals.

Imported where they are used: benchmarks import routing, for the snapshot that profiles go into.
"""

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from marketplace.benchmarks.models import Scenario, Target, Trigger
from marketplace.catalog.models import AIModel, Deployment
from marketplace.routing.tuning.replaying import Replay
from router.domain.catalog import Policy
from router.simulator.compare import Figures
from router.simulator.workload import Arrival

ARRIVALS_MAX = 5_000
ARRIVALS_SPAN = timedelta(hours=6)


def benchmark_ask(deployment: Deployment, reason: str) -> None:
    """Queue a benchmark of a deployment that drifted: its whole curve."""
    from marketplace.benchmarks.services import benchmark_request

    benchmark_request(
        model=deployment.version.model,
        target=Target.DEPLOYMENT,
        scenario=Scenario.OFFLINE,
        deployment=deployment,
        trigger=Trigger.DRIFT,
        reason=reason,
    )


def arrivals_lately(model: AIModel) -> list[Arrival]:
    """Recorded arrivals of a route lately: times and sizes; of too many, some blocks."""
    from marketplace.benchmarks.replay import arrivals_recorded

    now = timezone.now()
    return arrivals_recorded(model=model, since=now - ARRIVALS_SPAN, until=now, limit=ARRIVALS_MAX)


def replay_on(model: AIModel, slo_ms: float) -> Replay:
    """Replays arrivals on the route's fleet, as its profiles describe it."""
    from marketplace.benchmarks.replay import fleet_of, replay

    machines = fleet_of(model)

    def run(arrivals: Sequence[Arrival], policies: Sequence[Policy], seed: int) -> list[Figures]:
        return replay(arrivals, machines, policies, slo_ms=slo_ms, seed=seed)

    return run
