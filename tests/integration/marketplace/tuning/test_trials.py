"""Proposals on trial: begun, promoted or rolled back, dismissed, and any version reverted to."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.models import (
    EventKind,
    Mode,
    RoutingEvent,
)
from marketplace.tuning import services, tasks
from marketplace.tuning.services import (
    policy_revert,
    trial_approve,
    trial_dismiss,
    trial_roll_back,
    tuning_of,
    tuning_set,
)
from marketplace.tuning.telemetry import Window, arms_of
from tests.integration.marketplace.ledger import call
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.tuning.looping import (
    around,
    believed,
    calls,
    events,
    proposed,
    running_trial,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_ask_first_waits_for_a_person_and_automatic_does_not(
    shop: Shop, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    believed(monkeypatch)
    trial = proposed(shop)
    assert snapshot()["canaries"] == []
    trial = trial_approve(trial=trial, by=admin)
    (canary,) = snapshot()["canaries"]
    assert (canary["policy"]["id"], canary["share"]) == (trial.policy_id, 0.1)
    trial_roll_back(trial=trial, by=admin, why="looks odd")
    assert snapshot()["canaries"] == []
    tuning_set(tuning=tuning_of(shop.model), by=admin, mode=Mode.AUTOMATIC)
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


def test_a_trial_that_is_faster_is_promoted_by_itself(shop: Shop, admin: User) -> None:
    trial = running_trial(shop, admin)
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
    shop: Shop, admin: User, canary_ms: float, failures: int, because: str
) -> None:
    trial = running_trial(shop, admin)
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


def test_a_trial_past_its_time_is_rolled_back(shop: Shop, admin: User) -> None:
    trial = running_trial(shop, admin)
    trial.started_at = timezone.now() - timedelta(hours=2)
    trial.save()
    tasks.steer_canaries()
    trial.refresh_from_db()
    assert (trial.policy.state, trial.ended_because) == (PolicyState.ROLLED_BACK, "time")


def test_what_a_person_publishes_ends_a_trial(shop: Shop, admin: User) -> None:
    trial = running_trial(shop, admin)
    policy_publish(model=shop.model, kind=PolicyKind.C3, created_by=admin)
    trial.refresh_from_db()
    assert trial.policy.state == PolicyState.DISMISSED
    assert trial.ended_because == "superseded"
    assert tasks.steer_canaries() == 0
    with pytest.raises(ValidationError):
        trial_roll_back(trial=trial, by=admin)


def test_a_dismissed_proposal_is_over_and_cannot_be_approved(shop: Shop, admin: User) -> None:
    trial = trial_dismiss(trial=proposed(shop), by=admin, why="not now")
    with pytest.raises(ValidationError):
        trial_approve(trial=trial, by=admin)
    assert RoutingEvent.objects.latest("id").why == "not now"


def test_any_version_can_be_reverted_to(shop: Shop, admin: User) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.C3, weights={"1": 2.0})
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    made = policy_revert(model=shop.model, to_version=1, by=admin)
    assert (made.version, made.kind, made.weights) == (3, PolicyKind.C3, {"1": 2.0})
    assert services.policy_in_force(shop.model) == made
    assert events(shop)[-1] == (EventKind.REVERTED, 3, "staff@example.com")
    with pytest.raises(ValidationError):
        policy_revert(model=shop.model, to_version=9, by=admin)
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
