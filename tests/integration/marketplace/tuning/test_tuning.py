"""The feedback loop over real rows: drift, proposals, trials, reverts and stragglers."""

import math
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from django.utils import timezone

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.models import Origin, Profile
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import Deployment, Pool, Worker
from marketplace.catalog.services import offer_publish
from marketplace.routing.models import Policy, PolicyKind, PolicyState, SnapshotRow
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.evidence import ByHand, Gain, Replayed
from marketplace.routing.trials.models import (
    Aim,
    EventKind,
    Mode,
    RoutingEvent,
    Straggler,
    Trial,
)
from marketplace.tuning import loop, services, tasks
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.proof import Proof, Says, Trust
from marketplace.tuning.services import (
    policy_propose,
    policy_revert,
    trial_approve,
    trial_dismiss,
    trial_roll_back,
    tuning_of,
    tuning_set,
)
from marketplace.tuning.stragglers.watch import stragglers_watch
from marketplace.tuning.telemetry import Window, arms_of, live_of, pairs_of
from marketplace.usage.models import UsageEvent
from router.contracts.record import AttemptRecord, CandidateRecord, Candidates
from router.domain.catalog import Policy as PolicyValue
from router.domain.pricing import Price
from router.simulator.slots.compare import Figures
from router.simulator.workload import Arrival
from tests.integration.marketplace.ledger import call, intrude, record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def calls(
    deployment: Deployment,
    times_ms: Sequence[float],
    *,
    worker: str = "fast-0",
    expected_ms: float = 0.0,
    policy: int = 0,
    ago_s: float = 10.0,
    outcome: str = "completed",
    others: dict[str, float] | None = None,
    apart_ms: int = 0,
) -> None:
    """Calls that ended so many seconds ago, each so much before the next; ``others`` are workers
    considered too.
    """
    name = deployment.pool.name
    at_ms = time.time_ns() // 1_000_000 - int(ago_s * 1000)

    def candidates(chosen_ms: float) -> Candidates:
        rows = [CandidateRecord(deployment.pk, worker, name, "chosen", 0.0, chosen_ms, 0.0)]
        for other, service_ms in (others or {}).items():
            rows.append(CandidateRecord(deployment.pk, other, name, "slower", 0, service_ms, 1))
        return Candidates(lambda: tuple(rows))

    settle(
        *(
            record(
                created_at_ms=at_ms - place * apart_ms,
                deployment_id=deployment.pk,
                worker_id=worker,
                pool=name,
                policy_id=policy,
                outcome=outcome,
                upstream_ms=ms,
                total_ms=ms,
                attempts=(AttemptRecord(deployment.pk, worker, name, outcome, 0.0, ms),),
                candidates=candidates(expected_ms or ms),
            )
            for place, ms in enumerate(times_ms)
        )
    )


def around(mean_ms: float, count: int, seed: int = 1, spread: float = 0.3) -> list[float]:
    rng = random.Random(seed)
    sigma2 = math.log1p(spread**2)
    return [mean_ms * math.exp(rng.gauss(-sigma2 / 2, math.sqrt(sigma2))) for _ in range(count)]


def profile(shop: Shop, service_ms: float, **values: Any) -> Profile:
    fields = {"published": True, "source": "a test", "batch_curve": [[1, 1.0], [4, 2.0]], **values}
    return Profile.objects.create(deployment=shop.deployment, service_ms=service_ms, **fields)


def second_deployment(shop: Shop) -> Deployment:
    pool = Pool.objects.create(name="slow", hardware="CPU", engine="llama.cpp")
    Worker.objects.create(
        worker_id="slow-0", pool=pool, url="http://127.0.0.1:9", protocol="openai", slots=2
    )
    made = Deployment.objects.create(
        version=shop.deployment.version, provider=shop.provider, pool=pool, upstream_model="slug"
    )
    offer_publish(deployment=made, price=Price(id=0, prompt_nano_per_million=1))
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Deployment, str]]:
    """The benchmarks that were asked for."""
    found: list[tuple[Deployment, str]] = []
    monkeypatch.setattr(loop, "benchmark_ask", lambda *what: found.append(what))
    return found


@pytest.fixture
def staff(shop: Shop) -> User:
    return User.objects.create_user("staff@example.com", is_staff=True)


def events(shop: Shop) -> list[tuple[str, int, str]]:
    rows = RoutingEvent.objects.filter(model=shop.model.name).order_by("id")
    return [(row.kind, row.version, row.actor) for row in rows]


def snapshot() -> dict[str, Any]:
    row = SnapshotRow.objects.first()
    assert row is not None
    return row.body


# --- telemetry into profiles ---------------------------------------------------------------------


def test_live_service_is_read_by_deployment(shop: Shop) -> None:
    calls(shop.deployment, [100.0, 300.0], ago_s=5)
    calls(shop.deployment, [900.0], ago_s=120)
    calls(shop.deployment, [900.0], outcome="worker_failed")
    (live,) = live_of(shop.model, Window.last(timedelta(minutes=1)))
    assert (live.samples, live.mean_ms, live.variance) == (2, 200.0, 20_000.0)


def test_a_deployment_that_drifts_gets_a_profile_one_step_on_and_a_benchmark(
    shop: Shop, asked: list[tuple[Deployment, str]]
) -> None:
    sums = {"told": [True] * 4, "missed": 0.1}
    engine = {
        "first": {"weights": [0.01, 0.002, 0.2], **sums},
        "step": {"weights": [0.02, 0.001, 0.01, 0.2], **sums},
        "answers": 99,
        "at_once": 4,
        "context_tokens": 100.0,
        "event_tokens": 1.0,
    }
    profile(shop, 100.0, capacity_hz=10.0, slots=2, engine=engine, benchmark=None)
    calls(shop.deployment, around(400.0, 200), apart_ms=1_200)
    assert tasks.fold_telemetry() == 1
    made = profiles_in_force().get()
    assert made.origin == Origin.LIVE
    assert made.service_ms == pytest.approx(120.0)
    assert made.capacity_hz == pytest.approx(10.0 / 1.2)
    assert (made.slots, made.batch_curve) == (2, [[1, 1.0], [4, 2.0]])
    assert made.engine["first"]["weights"] == pytest.approx([0.012, 0.0024, 0.24])
    assert made.engine["step"]["weights"] == pytest.approx([0.024, 0.0012, 0.012, 0.24])
    assert made.samples == 200
    assert made.expires_at is not None
    assert snapshot()["deployments"][0]["service_prior_ms"] == pytest.approx(120.0)
    ((deployment, reason),) = asked
    assert deployment == shop.deployment
    assert reason.startswith("200 calls took ")
    assert tasks.fold_telemetry() == 1
    assert profiles_in_force().get().service_ms == pytest.approx(144.0)


def test_what_runs_as_its_profile_says_or_was_hardly_seen_is_left_alone(
    shop: Shop, asked: list[tuple[Deployment, str]]
) -> None:
    profile(shop, 100.0)
    calls(shop.deployment, around(105.0, 200), apart_ms=1_200)
    assert tasks.fold_telemetry() == 0
    intrude("DELETE FROM usage_event")
    calls(shop.deployment, around(400.0, 20))
    assert tasks.fold_telemetry() == 0
    assert asked == []


def test_a_deployment_without_a_profile_gets_one_of_live_traffic(
    shop: Shop, asked: list[tuple[Deployment, str]]
) -> None:
    calls(shop.deployment, around(80.0, 200))
    assert tasks.fold_telemetry() == 1
    assert profiles_in_force().get().service_ms == pytest.approx(80.0, rel=0.1)
    assert asked == []
    assert tasks.fold_telemetry() == 0


# --- proposals ---------------------------------------------------------------------------------


def no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "arrivals_lately", lambda model: [])
    monkeypatch.setattr(proving, "replay_on", lambda model, slo_ms: lambda *_: [])


def test_a_deployment_slower_than_expected_is_proposed_a_lower_weight(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_replay(monkeypatch)
    other = second_deployment(shop)
    calls(shop.deployment, around(200.0, 400, 1), expected_ms=100.0, apart_ms=100)
    calls(other, around(100.0, 400, 2), worker="slow-0", expected_ms=100.0, apart_ms=100)
    pairs = pairs_of(shop.model, Window.last(timedelta(minutes=1)))
    assert [round(pair.ratio) for pair in pairs] == [2, 1]
    assert tasks.propose() == 1
    trial = Trial.objects.get()
    policy = trial.policy
    assert policy.state == PolicyState.PROPOSED
    assert policy.weights == {str(shop.deployment.pk): 0.8, str(other.pk): 1.2}
    assert trial.evidence["biases"][0]["samples"] == 400
    assert snapshot()["policies"][0]["id"] == trial.baseline_id
    assert tasks.propose() == 0  # One is open.
    assert events(shop)[-1] == (EventKind.PROPOSED, policy.version, "loop")


def test_a_route_that_is_off_or_as_expected_is_proposed_nothing(
    shop: Shop, staff: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_replay(monkeypatch)
    other = second_deployment(shop)
    for item, worker in ((shop.deployment, "fast-0"), (other, "slow-0")):
        calls(item, around(150.0, 400), worker=worker, expected_ms=100.0)
    assert tasks.propose() == 0
    calls(shop.deployment, around(600.0, 400), expected_ms=100.0)
    tuning_set(tuning=tuning_of(shop.model), by=staff, mode=Mode.OFF)
    assert tasks.propose() == 0


@pytest.mark.parametrize("has_policy", [True, False])
def test_a_gain_in_every_stretch_of_replay_is_proposed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, has_policy: bool
) -> None:
    if has_policy:
        policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING, hedge_share=0.0)
    arrivals = [Arrival(n * 0.01, 1.0) for n in range(1_000)]

    def replay(
        part: Sequence[Arrival], policies: Sequence[PolicyValue], seed: int
    ) -> list[Figures]:
        assert part[0].at_s == 0.0
        assert len(part) == 200
        means = [100.0 + seed - 3 * (policy.wait_weight - 5.0) for policy in policies]
        return [Figures("p", 1, 0, mean, mean, mean, 2 * mean, 1.0, 0.0) for mean in means]

    monkeypatch.setattr(proving, "arrivals_lately", lambda model: arrivals)
    monkeypatch.setattr(proving, "replay_on", lambda model, slo_ms: replay)
    assert tasks.propose() == 1
    trial = Trial.objects.get()
    assert trial.policy.wait_weight == 6.0
    assert trial.policy.hedge_share == (0.0 if has_policy else 0.05)
    assert trial.aim == Aim.NOT_WORSE
    assert trial.evidence["replay"]["gain"] == pytest.approx(3 / 103, rel=0.1)


def test_a_proposal_is_one_step_at_most(shop: Shop) -> None:
    for changes in ({"wait_weight": 7.0}, {"weights": {"1": 0.5}}, {"kind": "c3"}, {}):
        with pytest.raises(ValidationError):
            policy_propose(model=shop.model, changes=changes, aim=Aim.LATENCY, evidence=ByHand())
    assert not Trial.objects.exists()


# --- trials --------------------------------------------------------------------------------------


GAIN = Gain("wait_weight", 6.0, "mean_ms", 103.0, 100.0, 0.03, 0.01, stretches=10, arrivals=1000)


def proposed(shop: Shop, by: User | None = None) -> Trial:
    return policy_propose(
        model=shop.model,
        changes={"wait_weight": 6.0},
        aim=Aim.LATENCY,
        evidence=Replayed("wait_weight", 5.0, 6.0, GAIN),
        by=by,
    )


def running_trial(shop: Shop, staff: User, **settings: Any) -> Trial:
    """A canary that began half a minute ago, on a route of a million calls a day."""
    values = {"canary_share": 0.3, "slo_ms": 1_000.0, "error_budget": 0.05, **settings}
    tuning_set(tuning=tuning_of(shop.model), by=staff, **values)
    trial = trial_approve(trial=proposed(shop), by=staff)
    trial.started_at = timezone.now() - timedelta(seconds=30)
    trial.budget_calls = 50_000.0
    trial.save()
    return trial


def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every replay says that the proposal is better, and is trusted."""
    found = Proof(Trust.TRUSTED, Says.BETTER, 500, 500, 200, "2026-11-30T12:00:00+00:00")
    monkeypatch.setattr(proving, "proof_of", lambda *_: found)


def test_ask_first_waits_for_a_person_and_automatic_does_not(
    shop: Shop, staff: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    believed(monkeypatch)
    trial = proposed(shop)
    assert snapshot()["canaries"] == []
    trial = trial_approve(trial=trial, by=staff)
    (canary,) = snapshot()["canaries"]
    assert (canary["policy"]["id"], canary["share"]) == (trial.policy_id, 0.1)
    trial_roll_back(trial=trial, by=staff, why="looks odd")
    assert snapshot()["canaries"] == []
    tuning_set(tuning=tuning_of(shop.model), by=staff, mode=Mode.AUTOMATIC)
    assert proposed(shop).policy.state == PolicyState.CANARY
    kinds = [(kind, actor) for kind, _version, actor in events(shop)]
    assert kinds == [
        (EventKind.PUBLISHED, "loop"),
        (EventKind.PROPOSED, "loop"),
        (EventKind.APPROVED, "staff@example.com"),
        (EventKind.STARTED, "loop"),
        (EventKind.ROLLED_BACK, "staff@example.com"),
        (EventKind.TUNED, "staff@example.com"),
        (EventKind.PROPOSED, "loop"),
        (EventKind.STARTED, "loop"),
    ]


def test_a_trial_that_is_faster_is_promoted_by_itself(shop: Shop, staff: User) -> None:
    trial = running_trial(shop, staff)
    calls(shop.deployment, around(200.0, 700, 1), policy=trial.baseline_id)
    assert services.canaries_steer()[0].reason == "few"
    calls(shop.deployment, around(120.0, 300, 2), policy=trial.policy_id)
    assert tasks.steer_canaries() == 1
    trial.refresh_from_db()
    assert (trial.policy.state, trial.ended_because) == (PolicyState.PUBLISHED, "better")
    assert services.policy_in_force(shop.model) == trial.policy
    assert snapshot()["policies"][0]["wait_weight"] == 6.0
    assert len(trial.looks) == 2
    assert trial.looks[-1]["canary"]["calls"] == 300
    assert events(shop)[-1] == (EventKind.PROMOTED, trial.policy.version, "loop")
    assert tasks.steer_canaries() == 0


@pytest.mark.parametrize(
    ("canary_ms", "failures", "because"), [(1_500.0, 0, "misses"), (400.0, 0, "slower")]
)
def test_a_trial_that_is_worse_is_rolled_back_by_itself(
    shop: Shop, staff: User, canary_ms: float, failures: int, because: str
) -> None:
    trial = running_trial(shop, staff)
    calls(shop.deployment, around(200.0, 300, 1), policy=trial.baseline_id)
    calls(shop.deployment, around(canary_ms, 100, 2, 0.1), policy=trial.policy_id)
    tasks.steer_canaries()
    trial.refresh_from_db()
    assert (trial.policy.state, trial.ended_because) == (PolicyState.ROLLED_BACK, because)
    assert services.policy_in_force(shop.model) == trial.baseline
    assert snapshot()["canaries"] == []


def test_failures_are_misses_and_callers_errors_are_not(shop: Shop) -> None:
    made = policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    for outcome, ms in (
        ("completed", 10.0),
        ("completed", 2_000.0),
        ("worker_failed", 10.0),
        ("rejected", 10.0),
        ("refused", 10.0),
        ("client_gone", 10.0),
        ("client_gone", 2_000.0),
    ):
        calls(shop.deployment, [ms], policy=made.pk, outcome=outcome)
    arm, none = arms_of([made.pk, 0], Window.last(timedelta(minutes=1)), 1_000.0)
    assert (arm.calls, arm.misses, arm.answered) == (5, 4, 2)
    assert none.calls == 0


def test_a_trial_past_its_time_is_rolled_back(shop: Shop, staff: User) -> None:
    trial = running_trial(shop, staff)
    trial.started_at = timezone.now() - timedelta(hours=2)
    trial.save()
    tasks.steer_canaries()
    trial.refresh_from_db()
    assert (trial.policy.state, trial.ended_because) == (PolicyState.ROLLED_BACK, "time")


def test_what_a_person_publishes_ends_a_trial(shop: Shop, staff: User) -> None:
    trial = running_trial(shop, staff)
    policy_publish(model=shop.model, kind=PolicyKind.C3, created_by=staff)
    trial.refresh_from_db()
    assert trial.policy.state == PolicyState.DISMISSED
    assert trial.ended_because == "superseded"
    assert tasks.steer_canaries() == 0
    with pytest.raises(ValidationError):
        trial_roll_back(trial=trial, by=staff)


def test_a_dismissed_proposal_is_over_and_cannot_be_approved(shop: Shop, staff: User) -> None:
    trial = trial_dismiss(trial=proposed(shop), by=staff, why="not now")
    with pytest.raises(ValidationError):
        trial_approve(trial=trial, by=staff)
    assert RoutingEvent.objects.latest("id").why == "not now"


def test_any_version_can_be_reverted_to(shop: Shop, staff: User) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.C3, weights={"1": 2.0})
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    made = policy_revert(model=shop.model, to_version=1, by=staff)
    assert (made.version, made.kind, made.weights) == (3, PolicyKind.C3, {"1": 2.0})
    assert services.policy_in_force(shop.model) == made
    assert events(shop)[-1] == (EventKind.REVERTED, 3, "staff@example.com")
    with pytest.raises(ValidationError):
        policy_revert(model=shop.model, to_version=9, by=staff)
    assert Policy.objects.count() == 3


def test_history_is_not_rewritten(shop: Shop) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.C3)
    event = RoutingEvent.objects.get()
    event.actor = "nobody"
    with pytest.raises(ValidationError):
        event.save()
    for change in (
        "UPDATE routing_routingevent SET actor = 'x'",
        "DELETE FROM routing_routingevent",
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            call(change)


# --- stragglers ----------------------------------------------------------------------------------


def peers(shop: Shop) -> None:
    for number in (1, 2):
        Worker.objects.create(
            worker_id=f"fast-{number}",
            pool=shop.deployment.pool,
            url="http://127.0.0.1:9",
            protocol="openai",
        )


def test_a_worker_that_strays_is_named_once_and_cleared_when_it_is_back(shop: Shop) -> None:
    peers(shop)
    for number in range(3):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}", ago_s=200)
    considered = {"fast-1": 100.0, "fast-2": 100.0}
    calls(shop.deployment, around(400.0, 8, 7), expected_ms=350.0, others=considered)
    for number in (1, 2):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}")
    assert tasks.watch_stragglers() == 1
    straggler = Straggler.objects.get()
    assert straggler.worker == shop.worker
    evidence = straggler.evidence
    assert 2.5 < evidence["ratio"] < 6
    assert evidence["low"] > 1.5
    assert evidence["share_before"] == pytest.approx(1 / 3)
    assert evidence["share_now"] == pytest.approx(8 / 88)
    assert evidence["expected_ratio"] == pytest.approx(3.5, rel=0.3)
    assert tasks.watch_stragglers() == 1
    assert Straggler.objects.count() == 1
    intrude("DELETE FROM usage_event")
    for number in range(3):
        calls(shop.deployment, around(100.0, 40, number), worker=f"fast-{number}")
    assert stragglers_watch() == []
    straggler.refresh_from_db()
    assert straggler.cleared_at is not None


def test_a_worker_that_the_router_avoids_is_named_by_what_it_expects(shop: Shop) -> None:
    peers(shop)
    slow = {"fast-0": 400.0, "fast-2": 100.0}
    calls(shop.deployment, around(100.0, 15, 1), worker="fast-1", expected_ms=100, others=slow)
    assert tasks.watch_stragglers() == 0, "too few decisions"
    calls(shop.deployment, around(100.0, 15, 2), worker="fast-1", expected_ms=100, others=slow)
    assert tasks.watch_stragglers() == 1
    straggler = Straggler.objects.get()
    assert straggler.worker == shop.worker
    assert straggler.evidence["ratio"] == pytest.approx(4, rel=0.3)
    assert straggler.evidence["low"] is None
    assert straggler.evidence["share_now"] == 0
    intrude("DELETE FROM usage_event")
    alike = {"fast-0": 100.0, "fast-2": 100.0}
    calls(shop.deployment, around(100.0, 30, 3), worker="fast-1", expected_ms=100, others=alike)
    assert stragglers_watch() == []


def test_benchmarks_are_no_traffic(shop: Shop) -> None:
    calls(shop.deployment, around(100.0, 10, 1))
    (live,) = live_of(shop.model, Window.last(timedelta(minutes=5)))
    assert live.samples == 10
    asked_by = UsageEvent.objects.values_list("organisation_id", flat=True)[0]
    Organisation.objects.update_or_create(pk=asked_by, defaults={"slug": ORGANISATION})
    assert live_of(shop.model, Window.last(timedelta(minutes=5))) == []


def test_a_pool_that_is_alike_names_nobody(shop: Shop) -> None:
    peers(shop)
    for number in range(3):
        times = around(100.0, 60, number, spread=1.0)
        calls(shop.deployment, times, worker=f"fast-{number}")
    assert tasks.watch_stragglers() == 0


def test_a_drift_is_asked_for_once_while_its_benchmark_is_due(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketplace.benchmarks.models import Benchmark, Scenario, Target, Trigger

    def ask(deployment: Deployment, reason: str) -> None:
        Benchmark.objects.create(
            model=shop.model,
            target=Target.DEPLOYMENT,
            deployment=deployment,
            scenario=Scenario.SINGLE_STREAM,
            trigger=Trigger.DRIFT,
            reason=reason,
        )

    monkeypatch.setattr(loop, "benchmark_ask", ask)
    profile(shop, 100.0)
    calls(shop.deployment, around(400.0, 200), apart_ms=1_200)
    assert len(loop.profiles_fold()) == 1
    assert len(loop.profiles_fold()) == 1
    assert Benchmark.objects.count() == 1
