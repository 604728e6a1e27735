"""Rounds of automatic tuning: open proposals, partial failures, and missing traffic."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from marketplace.accounts.models import Organisation, User
from marketplace.benchmarks.models import Benchmark, Profile, Scenario, Target
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.evidence import ByHand
from marketplace.routing.trials.models import Aim, Mode, RouteTuning, Straggler, Trial
from marketplace.tuning import loop, services, tasks
from marketplace.tuning.proofs import proving
from marketplace.tuning.proofs.proof import Proof, Says, Trust
from marketplace.tuning.services import (
    policy_propose,
    trial_approve,
    tuning_of,
    tuning_set,
)
from marketplace.tuning.stragglers import watch as stragglers
from marketplace.tuning.telemetry import (
    Window,
    calls_a_day,
    expected_by_worker,
    live_of,
    service_by_worker,
)
from marketplace.usage.models import UsageEvent
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.tuning.looping import (
    around,
    believed,
    calls,
    no_replay,
    peers,
    profile,
    proposed,
    running_trial,
    second_deployment,
)

pytestmark = pytest.mark.usefixtures("kept_shop")
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    no_replay(monkeypatch)


def another_route(shop: Shop) -> AIModel:
    return AIModel.objects.create(name="author/other", task="chat")


# --- what is left open ---------------------------------------------------------------------------


def test_a_proposal_that_waits_is_tried_once_its_route_is_automatic(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    believed(monkeypatch)
    trial = proposed(shop)
    tasks.propose()
    trial.policy.refresh_from_db()
    assert trial.policy.state == PolicyState.PROPOSED
    tuning_set(tuning=tuning_of(shop.model), by=admin, mode=Mode.AUTOMATIC)
    tasks.propose()
    trial.policy.refresh_from_db()
    assert trial.policy.state == PolicyState.CANARY
    tasks.propose()
    assert Trial.objects.count() == 1


def test_a_proposal_whose_evidence_is_old_is_set_aside(shop: Shop) -> None:
    trial = proposed(shop)
    Trial.objects.update(created_at=timezone.now() - services.PROPOSAL_TTL - MINUTE)
    tasks.propose()
    trial.refresh_from_db()
    assert (trial.policy.state, trial.ended_because) == (PolicyState.DISMISSED, "stale")
    assert trial.ended_at is not None


# --- one that fails, and the others --------------------------------------------------------------


def test_a_trial_that_cannot_be_looked_at_does_not_keep_others_from_their_look(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = running_trial(shop, admin)
    steer = services.canary_steer

    def fails_for_others(trial_id: int) -> Any:
        if trial_id != trial.pk:
            raise ArithmeticError("odd figures")
        return steer(trial_id)

    monkeypatch.setattr(services, "canary_steer", fails_for_others)
    other = policy_propose(
        model=another_route(shop), changes={"wait_weight": 6.0}, aim=Aim.LATENCY, evidence=ByHand()
    )
    trial_approve(trial=other, by=admin)
    assert Trial.objects.filter(policy__state=PolicyState.CANARY)[0] == other
    tasks.steer_canaries()
    trial.refresh_from_db()
    assert len(trial.looks) == 1


def test_a_proposal_that_is_refused_does_not_end_the_round(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refuses(model: AIModel, tuning: RouteTuning) -> None:
        tried.append(model.name)
        raise ValidationError("another one was quicker")

    second = another_route(shop)
    monkeypatch.setattr(loop, "_models_served", lambda: [shop.model, second])
    monkeypatch.setattr(loop, "propose_weights", refuses)
    assert tasks.propose() == 0
    assert tried == [shop.model.name, second.name]


def test_a_route_that_takes_a_whole_round_is_not_the_first_of_the_next_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    looked: list[str] = []

    def slow(model: AIModel, tuning: RouteTuning) -> None:
        looked.append(model.name)
        clock.now_s += loop.ROUND_SECONDS_MAX + 1

    second = another_route(shop)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    monkeypatch.setattr(loop, "_models_served", lambda: [shop.model, second])
    monkeypatch.setattr(loop, "propose_by_replay", slow)
    for _ in range(3):
        tasks.propose()
    assert looked == [shop.model.name, second.name, shop.model.name]


def test_proposals_whose_replays_take_a_whole_round_take_turns(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = another_route(shop)
    clock = SimpleNamespace(now_s=0.0)
    replayed: list[str] = []

    def slow(tuning: RouteTuning, *_: Policy) -> Proof:
        replayed.append(tuning.model.name)
        clock.now_s += loop.REVIEW_SECONDS_MAX + 1
        if len(replayed) == 2:
            raise ArithmeticError("odd figures")
        return Proof(Trust.UNTRUSTED, Says.BETTER, 500, 500, 200, timezone.now().isoformat())

    for model in (shop.model, second):
        changes = {"wait_weight": 6.0}
        policy_propose(model=model, changes=changes, aim=Aim.LATENCY, evidence=ByHand())
        tuning_set(tuning=tuning_of(model), by=admin, mode=Mode.AUTOMATIC)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    monkeypatch.setattr(proving, "proof_of", slow)
    for _ in range(4):
        tasks.propose()
    names = [shop.model.name, second.name]
    assert replayed == [*names, second.name, shop.model.name], "the one that failed is next again"


# --- steps ---------------------------------------------------------------------------------------


def test_a_weight_that_is_left_out_moves_too(shop: Shop) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING, weights={"1": 3.0, "2": 1.1})
    with pytest.raises(ValidationError):
        policy_propose(
            model=shop.model, changes={"weights": {"2": 1.2}}, aim=Aim.LATENCY, evidence=ByHand()
        )
    policy_propose(
        model=shop.model, changes={"weights": {"1": 2.4}}, aim=Aim.LATENCY, evidence=ByHand()
    )


@pytest.mark.parametrize(
    ("field", "before", "after"), [("hedge_share", 0.002, 0.003), ("wait_weight", 0.2, 0.2409)]
)
def test_a_small_figure_moves_a_step_at_most_as_well(
    shop: Shop, field: str, before: float, after: float
) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING, **{field: before})  # type: ignore[misc]
    with pytest.raises(ValidationError):
        policy_propose(model=shop.model, changes={field: after}, aim=Aim.LATENCY, evidence=ByHand())
    policy_propose(
        model=shop.model,
        changes={field: round(before * 1.2, 4)},
        aim=Aim.LATENCY,
        evidence=ByHand(),
    )
    assert Policy.objects.count() == 2


# --- what is no traffic --------------------------------------------------------------------------


def test_benchmarks_name_no_straggler_and_fill_no_budget(shop: Shop) -> None:
    others = {"fast-1": 50.0}
    calls(shop.deployment, around(100.0, 10, 1), expected_ms=100.0, others=others)
    lately = Window.last(5 * MINUTE)
    assert service_by_worker(lately)
    assert calls_a_day(shop.model) == 10
    asked_by = UsageEvent.objects.values_list("organisation_id", flat=True)[0]
    Organisation.objects.update_or_create(pk=asked_by, defaults={"slug": ORGANISATION})
    assert not service_by_worker(lately)
    assert not expected_by_worker(lately)
    assert calls_a_day(shop.model) == 0


def test_calls_at_once_are_counted_while_there_were_any(shop: Shop) -> None:
    # Eight at once for a moment, and nothing for the rest of the window.
    calls(shop.deployment, [1_000.0] * 8, ago_s=5)
    (live,) = live_of(shop.model, Window.last(5 * MINUTE))
    assert live.at_once == pytest.approx(8.0, rel=0.05)


def test_a_burst_on_a_batching_worker_is_no_drift(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "benchmark_ask", lambda *_: None)
    profile(shop, 100.0, batch_curve=[[1, 1.0], [4, 2.0]])
    for ago_s in range(10, 60):
        calls(shop.deployment, around(200.0, 4, ago_s), ago_s=ago_s)
    assert tasks.fold_telemetry() == 0


def test_settings_that_two_people_change_are_both_kept(shop: Shop, admin: User) -> None:
    mine, yours = tuning_of(shop.model), tuning_of(shop.model)
    tuning_set(tuning=mine, by=admin, slo_ms=700.0)
    tuning_set(tuning=yours, by=admin, mode=Mode.OFF)
    now = tuning_of(shop.model)
    assert (now.slo_ms, now.mode) == (700.0, Mode.OFF)


def test_weights_are_proposed_only_where_they_count(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.ROUND_ROBIN)
    other = second_deployment(shop)
    calls(shop.deployment, around(200.0, 400, 1), expected_ms=100.0)
    calls(other, around(100.0, 400, 2), worker="slow-0", expected_ms=100.0)
    assert tasks.propose() == 0


def test_calls_from_before_a_benchmark_say_nothing_against_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "benchmark_ask", lambda *_: None)
    row = Benchmark.objects.create(
        model=shop.model,
        target=Target.DEPLOYMENT,
        deployment=shop.deployment,
        scenario=Scenario.OFFLINE,
    )
    measured = profile(shop, 400.0, benchmark=row)
    calls(shop.deployment, around(100.0, 200), ago_s=10, apart_ms=1_000)
    assert tasks.fold_telemetry() == 0
    Profile.objects.filter(pk=measured.pk).update(created_at=timezone.now() - 4 * MINUTE)
    assert tasks.fold_telemetry() == 1
    assert live_of(shop.model, Window.last(4 * MINUTE))


def test_a_route_has_one_trial_at_a_time(shop: Shop, admin: User) -> None:
    trial = running_trial(shop, admin)
    values = {"model": shop.model, "version": 90, "kind": PolicyKind.LATE_BINDING}
    other = Trial.objects.create(
        policy=Policy.objects.create(state=PolicyState.PROPOSED, **values),
        baseline=trial.baseline,
        aim=Aim.LATENCY,
    )
    with pytest.raises(ValidationError, match="under trial"):
        trial_approve(trial=other, by=admin)


def test_two_rounds_at_once_name_a_worker_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"fast-0": 400.0, "fast-2": 100.0}
    peers(shop)
    calls(shop.deployment, around(100.0, 30, 1), worker="fast-1", expected_ms=100, others=slow)

    def meanwhile(by_worker: Any, expected: Any) -> dict[str, stragglers.Finding]:
        Straggler.objects.get_or_create(
            worker=shop.worker, deployment=shop.deployment, cleared_at=None
        )
        return findings(by_worker, expected)

    findings = stragglers._findings
    monkeypatch.setattr(stragglers, "_findings", meanwhile)
    (row,) = stragglers.stragglers_watch()
    assert Straggler.objects.get() == row
