"""The feedback loop over real rows: what drifts gets a profile, and what would help is proposed."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.models import Origin
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.catalog.models import Deployment
from marketplace.routing.models import PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.evidence import ByHand
from marketplace.routing.trials.models import (
    Aim,
    EventKind,
    Mode,
    Trial,
)
from marketplace.tuning import loop, tasks
from marketplace.tuning.proofs import proving
from marketplace.tuning.services import (
    policy_propose,
    tuning_of,
    tuning_set,
)
from marketplace.tuning.telemetry import Window, live_of, pairs_of
from marketplace.usage.models import UsageEvent
from router.domain.catalog import Policy as PolicyValue
from router.simulator.slots.compare import Figures
from router.simulator.workload import Arrival
from tests.integration.marketplace.ledger import intrude
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.tuning.looping import (
    around,
    calls,
    events,
    no_replay,
    profile,
    second_deployment,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Deployment, str]]:
    """The benchmarks that were asked for."""
    found: list[tuple[Deployment, str]] = []
    monkeypatch.setattr(loop, "benchmark_ask", lambda *what: found.append(what))
    return found


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
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_replay(monkeypatch)
    other = second_deployment(shop)
    for item, worker in ((shop.deployment, "fast-0"), (other, "slow-0")):
        calls(item, around(150.0, 400), worker=worker, expected_ms=100.0)
    assert tasks.propose() == 0
    calls(shop.deployment, around(600.0, 400), expected_ms=100.0)
    tuning_set(tuning=tuning_of(shop.model), by=admin, mode=Mode.OFF)
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


# --- what is left alone -------------------------------------------------------------------------


def test_benchmarks_are_no_traffic(shop: Shop) -> None:
    calls(shop.deployment, around(100.0, 10, 1))
    (live,) = live_of(shop.model, Window.last(timedelta(minutes=5)))
    assert live.samples == 10
    asked_by = UsageEvent.objects.values_list("organisation_id", flat=True)[0]
    Organisation.objects.update_or_create(pk=asked_by, defaults={"slug": ORGANISATION})
    assert live_of(shop.model, Window.last(timedelta(minutes=5))) == []


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
