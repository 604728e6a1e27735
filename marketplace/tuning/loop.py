"""Automatic tuning: folds telemetry into profiles, and proposes policies."""

import logging
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import User
from marketplace.benchmarks.models import (
    Benchmark,
    Origin,
    Profile,
    Scenario,
    Target,
    Trigger,
)
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.selectors import policy_value
from marketplace.routing.services import snapshot_publish
from marketplace.routing.trials.evidence import Benchmarked, Calibrated, Replayed
from marketplace.routing.trials.models import Aim, Mode, RouteTuning, Trial
from marketplace.shared.jobs.models import STATES_OPEN
from marketplace.tuning.drift.calibration import (
    DEADBAND,
    WEIGHT_MAX,
    WEIGHT_MIN,
    biases,
    weights_after,
)
from marketplace.tuning.drift.detection import (
    SAMPLES_MIN,
    Drift,
    Live,
    alone_ms,
    curve_factor,
    drift_of,
    stepped,
)
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.candidates import best
from marketplace.tuning.services import (
    HEED_WEIGHTS,
    OPEN,
    policy_in_force,
    policy_propose,
    proposal_review,
    tuning_of,
)
from marketplace.tuning.telemetry import Window, live_of, pairs_of

FOLD_WINDOW = timedelta(minutes=5)
LIVE_TTL = timedelta(hours=6)
"""How long a profile of live traffic is valid: a stale prior is worse than none."""
BENCHMARK_EVERY = timedelta(hours=6)
COOL_DOWN = timedelta(hours=1)
"""The wait after a dismissal or rollback before the same field is proposed again."""
ROUND_SECONDS_MAX = 50.0
"""A round begins with no further route then: one may still take a minute, and the round's task is
killed after two."""
REVIEW_SECONDS_MAX = 25.0
"""No further waiting proposal is looked at in a round then: its replay may take 20 seconds."""
NEVER = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


def profiles_fold() -> list[Profile]:
    """Test each live deployment for drift; one that drifted gets a profile changed by one step."""
    profiles = {profile.deployment_id: profile for profile in profiles_in_force()}
    window = Window.last(FOLD_WINDOW)
    folded: list[Profile] = []
    for model in _models_served():
        deployments = {row.pk: row for row in _deployments_of(model)}
        for live in live_of(model, window):
            deployment, profile = (
                deployments.get(live.deployment_id),
                profiles.get(live.deployment_id),
            )
            if deployment is None:
                continue
            since = _since_measured(model, live, profile, window)
            if since is not None and since.samples >= SAMPLES_MIN:
                made = _fold(deployment, since, profile)
                folded += [made] if made else []
    if folded:
        snapshot_publish()
    return folded


def _since_measured(
    model: AIModel, live: Live, profile: Profile | None, window: Window
) -> Live | None:
    """The live sums; after a benchmark only of later calls: earlier ones cannot contradict it."""
    if profile is None or profile.benchmark_id is None or profile.created_at <= window.since:
        return live
    later = live_of(model, Window(profile.created_at, window.until))
    return next((row for row in later if row.deployment_id == live.deployment_id), None)


def proposals_make() -> list[Trial]:
    """Review open proposals, then make at most one for each route that is on and has none open.

    The route that was looked at longest ago goes first. What a round has no time for
    (`ROUND_SECONDS_MAX`) is so the first of the next one.
    """
    begun_s = time.monotonic()
    proposals_review()
    made: list[Trial] = []
    routes = [(model, tuning_of(model)) for model in _models_served()]
    for model, tuning in sorted(routes, key=lambda route: route[1].looked_at or NEVER):
        busy = Trial.objects.filter(policy__model=model, policy__state__in=OPEN).exists()
        if tuning.mode == Mode.OFF or busy:
            continue
        # Noted before: a look that has its process killed was one too.
        RouteTuning.objects.filter(pk=tuning.pk).update(looked_at=timezone.now())
        try:
            trial = propose_weights(model, tuning) or propose_by_replay(model, tuning)
        except ValidationError as refused:  # A person was quicker, or the step changes nothing.
            log.warning("nothing is proposed for %s: %s", model, refused)
            trial = None
        made += [trial] if trial else []
        if time.monotonic() - begun_s > ROUND_SECONDS_MAX:
            break
    return made


def proposals_review() -> None:
    """Review waiting proposals: see :func:`~marketplace.tuning.services.proposal_review`.

    The one that was replayed longest ago goes first. What a round has no time for
    (`REVIEW_SECONDS_MAX`) is so among the first of the next one.
    """
    begun_s = time.monotonic()
    waiting = Trial.objects.filter(policy__state=PolicyState.PROPOSED)
    rows = waiting.select_related("policy__model", "baseline")
    for trial in sorted(rows, key=lambda row: row.replay.get("at", "")):
        if time.monotonic() - begun_s > REVIEW_SECONDS_MAX:
            break
        try:
            proposal_review(trial=trial)
        except ValidationError as refused:  # A person has decided meanwhile.
            log.info("%s: %s", trial, refused)
        except Exception:  # It would keep all others from theirs, round after round.
            log.exception("no review of %s", trial)


def propose_weights(model: AIModel, tuning: RouteTuning) -> Trial | None:
    """Propose weights one step towards the ratio of actual to expected service times."""
    if _tried_lately(model, "weights"):
        return None
    window = Window.last(proving.CALIBRATION_WINDOW)
    policy = policy_in_force(model)
    if policy is not None and policy.kind not in HEED_WEIGHTS:
        return None
    found = biases(pairs_of(model, window), tuning.samples_min)
    weights = {int(key): value for key, value in (policy.weights if policy else {}).items()}
    wanted = weights_after(weights, found)
    if wanted is None:
        return None
    after = {str(key): value for key, value in wanted.items()}
    return policy_propose(
        model=model,
        changes={"weights": after},
        aim=Aim.LATENCY,
        evidence=Calibrated(
            minutes=proving.CALIBRATION_WINDOW // timedelta(minutes=1),
            biases=tuple(found),
            before={str(key): value for key, value in weights.items()},
            after=after,
        ),
    )


def propose_by_replay(model: AIModel, tuning: RouteTuning) -> Trial | None:
    """Propose the step of ``wait_weight`` or ``hedge_share`` with the largest gain in a replay."""
    # Without a policy the router uses the defaults, which an empty row has too.
    policy = policy_in_force(model) or Policy(model=model, version=0, pk=0)
    if policy.kind != PolicyKind.LATE_BINDING:
        return None
    try:
        arrivals = proving.arrivals_lately(model)
        gain = best(policy_value(policy), arrivals, proving.replay_on(model, tuning.slo_ms))
    except ValueError as unknown:  # None of its workers has a profile yet.
        log.info("no replay of %s: %s", model, unknown)
        return None
    except TimeoutError:
        log.warning("no replay of %s within %g s", model, proving.CANDIDATES_SECONDS_MAX)
        return None
    if gain is None or _tried_lately(model, gain.field):
        return None
    return policy_propose(
        model=model,
        changes={gain.field: gain.value},
        aim=Aim.NOT_WORSE,
        evidence=Replayed(gain.field, getattr(policy, gain.field), gain.value, gain),
    )


def propose_from_benchmark(*, benchmark: Benchmark, by: User) -> Trial:
    """Propose a weight one step towards the ratio of measured to expected service time.

    Raises ``ValidationError`` if the benchmark has no profile, the router expects nothing, or the
    two agree.
    """
    profile = benchmark.profiles.select_related("deployment").first()
    if profile is None:
        raise ValidationError(
            _("This benchmark produced no profile, so it has nothing to propose.")
        )
    expected_ms = _expected_ms(benchmark.model, profile)
    if expected_ms is None:
        raise ValidationError(_("The router has no estimate for this deployment yet."))
    policy, key = policy_in_force(benchmark.model), str(profile.deployment_id)
    weights = dict(policy.weights) if policy else {}
    wanted = min(max(expected_ms / profile.service_ms, WEIGHT_MIN), WEIGHT_MAX)
    before = weights.get(key, 1.0)
    weights[key] = round(stepped(before, wanted), 4)
    if abs(weights[key] - before) < DEADBAND * before:
        raise ValidationError(_("The benchmark matches the router's estimate: nothing to change."))
    return policy_propose(
        model=benchmark.model,
        changes={"weights": weights},
        aim=Aim.LATENCY,
        evidence=Benchmarked(
            benchmark=benchmark.pk,
            measured_ms=profile.service_ms,
            expected_ms=expected_ms,
            samples=profile.samples,
            before=policy.weights if policy else {},
            after=weights,
        ),
        by=by,
    )


def _expected_ms(model: AIModel, profile: Profile) -> float | None:
    """The router's mean expectation of recent calls, else the service time of the profile in force.

    Calls may be smaller or larger than the benchmark's. The expectation is scaled by how much calls
    to the route's other deployments differ from their profiles.
    """
    lately = Window.last(proving.CALIBRATION_WINDOW)
    pairs = {pair.deployment_id: pair for pair in pairs_of(model, lately)}
    own = pairs.pop(profile.deployment_id, None)
    if own is not None:
        known_ms = {
            row.deployment_id: row.service_ms
            for row in profiles_in_force().exclude(origin=Origin.LIVE)
            if row.deployment_id in pairs
        }
        calls_ms = sum(pairs[key].x for key in known_ms)
        as_known_ms = sum(pairs[key].samples * ms for key, ms in known_ms.items())
        return own.x / own.samples / (calls_ms / as_known_ms if as_known_ms else 1.0)
    in_force = profiles_in_force().filter(deployment=profile.deployment).exclude(pk=profile.pk)
    row = in_force.first()
    return row.service_ms if row else None


@transaction.atomic
def _fold(deployment: Deployment, live: Live, profile: Profile | None) -> Profile | None:
    if profile is None:
        return _profile_make(deployment, live, None, live.mean_ms)
    factor = curve_factor(profile.batch_curve, live.at_once)
    drift = drift_of(live, profile.service_ms, profile.samples, factor)
    if not drift.is_drift:
        return None
    service_ms = stepped(profile.service_ms, alone_ms(live, profile.batch_curve))
    made = _profile_make(deployment, live, profile, service_ms)
    _benchmark_if_due(deployment, live, drift)
    return made


def _profile_make(
    deployment: Deployment, live: Live, profile: Profile | None, service_ms: float
) -> Profile:
    """A copy of the earlier profile at the new speed; throughput and the engine's figures scale."""
    faster = profile.service_ms / service_ms if profile else 0.0
    engine = profile.engine_figures if profile else None
    now = timezone.now()
    return Profile.objects.create(
        deployment=deployment,
        service_ms=service_ms,
        batch_curve=profile.batch_curve if profile else [],
        engine=asdict(engine.slower(1 / faster)) if engine else {},
        slots=profile.slots if profile else 0,
        capacity_hz=profile.capacity_hz * faster if profile else 0.0,
        slo_ms=profile.slo_ms if profile else 0.0,
        throughput_hz=profile.throughput_hz * faster if profile else 0.0,
        tokens_per_s=profile.tokens_per_s * faster if profile else 0.0,
        origin=Origin.LIVE,
        samples=live.samples,
        fingerprint=profile.fingerprint if profile else {},
        source=f"{live.samples} calls until {now:%Y-%m-%d %H:%M} UTC",
        emulated=deployment.pool.emulated,
        published=True,
        expires_at=now + LIVE_TTL,
    )


def _benchmark_if_due(deployment: Deployment, live: Live, drift: Drift) -> None:
    asked = Benchmark.objects.filter(deployment=deployment, trigger=Trigger.DRIFT)
    waiting = asked.filter(state__in=STATES_OPEN).exists()
    if waiting or asked.filter(created_at__gt=timezone.now() - BENCHMARK_EVERY).exists():
        return
    reason = (
        f"{live.samples} calls took {drift.ratio:.2f} times as long as the profile says "
        f"({drift.low:.2f} to {drift.high:.2f})"
    )
    log.info("%s drifted: %s", deployment, reason)
    try:
        benchmark_ask(deployment, reason)
    except ValidationError as refused:  # No worker is ready, or too many benchmarks wait.
        log.warning("no benchmark of %s: %s", deployment, refused)


def benchmark_ask(deployment: Deployment, reason: str) -> None:
    """Queue a benchmark of the whole curve of a deployment that drifted."""
    benchmark_request(
        model=deployment.version.model,
        target=Target.DEPLOYMENT,
        scenario=Scenario.OFFLINE,
        deployment=deployment,
        trigger=Trigger.DRIFT,
        reason=reason,
    )


def _tried_lately(model: AIModel, field: str) -> bool:
    return Trial.objects.filter(
        policy__model=model,
        policy__state__in=(PolicyState.DISMISSED, PolicyState.ROLLED_BACK),
        evidence__field=field,
        ended_at__gt=timezone.now() - COOL_DOWN,
    ).exists()


def _models_served() -> Iterable[AIModel]:
    return AIModel.objects.filter(
        published=True, versions__deployments__status=DeploymentStatus.LIVE
    ).distinct()


def _deployments_of(model: AIModel) -> Iterable[Deployment]:
    rows = Deployment.objects.filter(version__model=model, status=DeploymentStatus.LIVE)
    return rows.select_related("pool", "version__model", "provider")
