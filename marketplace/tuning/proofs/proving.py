"""Replays recorded calls under policies: for candidates of automatic tuning, and for proposals."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from django.utils import timezone

from marketplace.benchmarks.recorded_calls.fleet import Basis, Fleet, FleetUnknown, fleet_read
from marketplace.benchmarks.recorded_calls.replay import (
    Recording,
    fleet_now,
    recording_read,
    replay,
)
from marketplace.catalog.models import AIModel
from marketplace.planning.whatif.answer import Calibration, calibration_of
from marketplace.planning.whatif.replay.engine_runs import simulation_of
from marketplace.planning.whatif.replay.runs import (
    Course,
    Run,
    Side,
    differences,
    paired,
    recorded,
    side_of,
)
from marketplace.planning.whatif.replay.scene import CALLS_SURE
from marketplace.routing.models import WEIGHT_MAX, WEIGHT_MIN
from marketplace.routing.models import Policy as PolicyRow
from marketplace.routing.selectors import policy_value
from marketplace.routing.trials.models import RouteTuning
from marketplace.tuning.drift.calibration import biases
from marketplace.tuning.proofs.candidates import Replay
from marketplace.tuning.proofs.proof import (
    Apart,
    Figure,
    Lack,
    Proof,
    Says,
    Share,
    Trust,
    says_of,
)
from marketplace.tuning.telemetry import Window, pairs_of, placed_since
from router.domain.catalog import Policy
from router.simulator.slots.compare import Figures
from router.simulator.workload import Arrival

ARRIVALS_MAX = 5_000
ARRIVALS_SPAN = timedelta(hours=6)
CALIBRATION_WINDOW = timedelta(minutes=30)
CALLS_MAX = 3_000
SEEDS = (1, 2, 3)
SECONDS_MAX = 20.0
"""The time limit, as a person may wait; a dozen workers take two seconds. One seed must fit."""
CANDIDATES_SECONDS_MAX = 40.0
"""That of all replays for a route's candidates, for which nobody waits."""
FIGURES = ("mean_ms", "p99_ms", "good")


def arrivals_lately(model: AIModel) -> list[Arrival]:
    """A route's recent recorded arrivals: times and sizes; some blocks of them if too many."""
    now = timezone.now()
    since = now - ARRIVALS_SPAN
    return list(recording_read(model=model, since=since, until=now, limit=ARRIVALS_MAX).arrivals)


def replay_on(model: AIModel, slo_ms: float) -> Replay:
    """A function that replays arrivals on the route's fleet, as its profiles describe it.

    It raises ``TimeoutError`` once its replays together have taken `CANDIDATES_SECONDS_MAX`.
    """
    machines = fleet_now(model).machines
    begun_s = time.monotonic()

    def tick(_: Figures) -> None:
        if time.monotonic() - begun_s > CANDIDATES_SECONDS_MAX:
            raise TimeoutError

    def run(arrivals: Sequence[Arrival], policies: Sequence[Policy], seed: int) -> list[Figures]:
        return replay(arrivals, machines, policies, slo_ms=slo_ms, seed=seed, done=tick)

    return run


def proof_of(tuning: RouteTuning, baseline: PolicyRow, proposed: PolicyRow) -> Proof:
    """Replay recent calls, since ``baseline`` alone places them, under both policies.

    The simulated router knows how fast workers are. The real one is wrong by factors, which weights
    correct, so both policies are replayed with these errors.
    """
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
    """The policy with weights multiplied by the router's errors, actual over expected time."""
    weights = dict(policy.weights)
    for deployment_id, ratio in errors.items():
        weights[deployment_id] = min(
            max(weights.get(deployment_id, 1.0) * ratio, WEIGHT_MIN), WEIGHT_MAX
        )
    return msgspec.structs.replace(policy, weights=weights)


def prove(
    model: AIModel, now: Policy, then: Policy, *, since: datetime, until: datetime, slo_ms: float
) -> Proof:
    """Replay the calls of ``[since, until)``, which ``now`` placed, under both policies."""
    recording = recording_read(model=model, since=since, until=until, limit=CALLS_MAX)
    if len(recording.calls) < CALLS_SURE:
        return _unknown(recording, Lack.FEW)
    try:
        fleet = fleet_read(model, recording.work, recording.calls, first=Basis.MEASURED)
    except FleetUnknown:
        return _unknown(recording, Lack.FLEET)
    before, after = paired(
        recording.calls,
        Course(recording.arrivals, fleet, now),
        Course(recording.arrivals, fleet, then),
        simulate=simulation_of(fleet),
        seeds=SEEDS,
        seconds_max=SECONDS_MAX,
    )
    if not after:
        return _unknown(recording, Lack.SLOW)
    return _proof(recording, fleet, before, after, slo_ms)


def _proof(
    recording: Recording, fleet: Fleet, before: list[Run], after: list[Run], slo_ms: float
) -> Proof:
    really = recorded(recording.calls, recording.arrivals)
    sides = [side_of(run, slo_ms) for run in (really, before[0], after[0])]
    calibration = calibration_of(sides[0], sides[1])
    figures = tuple(
        Figure(
            diff.metric, getattr(sides[0], diff.metric), diff.now, diff.then, diff.low, diff.high
        )
        for diff in differences(before, after, slo_ms)
        if diff.metric in FIGURES
    )
    return Proof(
        trust=Trust.TRUSTED if calibration.trusted else Trust.UNTRUSTED,
        says=says_of(figures),
        calls=len(recording.calls),
        total=recording.total,
        calls_min=CALLS_SURE,
        at=timezone.now().isoformat(),
        seeds=len(after),
        figures=figures,
        shares=_shares(fleet, sides),
        held=_held(calibration),
    )


def _unknown(recording: Recording, lack: Lack) -> Proof:
    return Proof(
        trust=Trust.UNKNOWN,
        says=Says.UNCLEAR,
        calls=len(recording.calls),
        total=recording.total,
        calls_min=CALLS_SURE,
        at=timezone.now().isoformat(),
        lack=lack,
    )


def _shares(fleet: Fleet, sides: list[Side]) -> tuple[Share, ...]:
    emulated = {part.pool: part.emulated for part in fleet.parts}
    by_side = [{part.pool: part.share for part in side.pools} for side in sides]
    pools = emulated.keys() | {pool for shares in by_side for pool in shares}
    return tuple(
        Share(pool, emulated.get(pool, False), *(shares.get(pool, 0.0) for shares in by_side))
        for pool in sorted(pools)
    )


def _held(found: Calibration) -> tuple[Apart, ...]:
    values = msgspec.to_builtins(found)
    return tuple(
        Apart(name, values[name], values[f"{name}_max"])
        for name in ("mean", "p99", "good", "shares")
    )
