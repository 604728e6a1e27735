"""What the loop asks of benchmarks: a run, and replays of what was recorded.

Imported where they are used: benchmarks import routing, for the snapshot that profiles go into.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec
from django.utils import timezone

from marketplace.benchmarks.models import Scenario, Target, Trigger
from marketplace.catalog.models import AIModel, Deployment
from marketplace.routing.models import WEIGHT_MAX, WEIGHT_MIN
from marketplace.routing.models import Policy as PolicyRow
from marketplace.routing.selectors import policy_value
from marketplace.routing.tuning.calibration import biases
from marketplace.routing.tuning.models import RouteTuning
from marketplace.routing.tuning.proof import Proof
from marketplace.routing.tuning.replaying import Replay
from marketplace.routing.tuning.telemetry import Window, pairs_of, placed_since
from router.domain.catalog import Policy
from router.simulator.compare import Figures
from router.simulator.workload import Arrival

ARRIVALS_MAX = 5_000
ARRIVALS_SPAN = timedelta(hours=6)
CALIBRATION_WINDOW = timedelta(minutes=30)


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


def proof_of(tuning: RouteTuning, baseline: PolicyRow, proposed: PolicyRow) -> Proof:
    """The last hours' calls, as far as ``baseline`` alone placed them, replayed under both.

    The simulated router knows how fast workers are. The real one is wrong by a factor here and
    there, which is what weights correct: both policies are replayed with its errors.
    """
    from marketplace.benchmarks.whatif.proving import prove

    model, now = tuning.model, timezone.now()
    since = placed_since(model, baseline.pk, Window(now - ARRIVALS_SPAN, now))
    lately = Window(max(since, now - CALIBRATION_WINDOW), now)
    errors = {
        bias.deployment_id: bias.ratio
        for bias in biases(pairs_of(model, lately), tuning.samples_min)
    }
    before, after = (_with_errors(policy_value(row), errors) for row in (baseline, proposed))
    return prove(model, before, after, since=since, until=now, slo_ms=tuning.slo_ms)


def _with_errors(policy: Policy, errors: Mapping[int, float]) -> Policy:
    """Who takes so many times what the router expects is taken for so many times as fast."""
    weights = dict(policy.weights)
    for deployment_id, ratio in errors.items():
        weights[deployment_id] = min(
            max(weights.get(deployment_id, 1.0) * ratio, WEIGHT_MIN), WEIGHT_MAX
        )
    return msgspec.structs.replace(policy, weights=weights)
