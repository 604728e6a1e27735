"""The policy editor: drafts, diffs, the lock on the version seen, canaries, rollback, preview."""

from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from marketplace.planning.models import WhatIf
from marketplace.routing.models import Policy, PolicyKind, PolicyState
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.models import Trial
from marketplace.shared.jobs.models import JobState
from marketplace.tuning.services import policy_in_force
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

PAGE = "/routes/author/slug/policy"
JSON: dict[str, Any] = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.activate("en")


def draft(shop: Shop, **values: Any) -> dict[str, Any]:
    return {
        "kind": "late_binding",
        "wait_weight": "5",
        "usd_weight_s": "0",
        "hedge_percent": "5",
        "note": "",
        "expected_version": "0",
        "canary_percent": "10",
        "aim": "latency",
        f"weight_{shop.deployment.pk}": "1",
        "action": "publish",
        **values,
    }


def test_a_draft_is_published_with_who_and_why(staff: Client, shop: Shop) -> None:
    weight = {f"weight_{shop.deployment.pk}": "0.5"}
    sent = draft(shop, kind="peak_ewma", note="tails", hedge_percent="2.5", **weight)
    assert staff.post(PAGE, sent).status_code == 302
    made = policy_in_force(shop.model)
    assert made is not None
    assert (made.version, made.kind, made.note) == (1, "peak_ewma", "tails")
    assert (made.hedge_share, made.weights) == (0.025, {str(shop.deployment.pk): 0.5})
    assert str(made.created_by) == "staff@example.com"
    assert 'value="peak_ewma" selected' in staff.get(PAGE).content.decode()


@pytest.mark.parametrize(
    "wrong", [{"wait_weight": "0"}, {"hedge_percent": "21"}, {"kind": "none"}, {"wait_weight": ""}]
)
def test_what_is_beyond_its_bounds_is_refused(
    staff: Client, shop: Shop, wrong: dict[str, str]
) -> None:
    assert staff.post(PAGE, draft(shop, **wrong)).status_code == 422
    assert not Policy.objects.exists()


def test_a_draft_over_an_old_version_is_refused_with_what_changed(
    staff: Client, shop: Shop
) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    policy_publish(model=shop.model, kind=PolicyKind.C3, wait_weight=9.0)
    sent = draft(shop, kind="round_robin", expected_version="1")
    answer = staff.post(PAGE, sent)
    assert answer.status_code == 409
    text = answer.content.decode()
    assert "You started from version 1. Version 2 came into force" in text
    assert "Wait weight" in text
    assert policy_in_force(shop.model).version == 2  # type: ignore[union-attr]
    # The draft is kept, to be put over the new version knowingly.
    assert 'value="round_robin" selected' in text
    assert 'name="expected_version" value="2"' in text
    assert staff.post(PAGE, {**sent, "expected_version": "2"}).status_code == 302
    assert policy_in_force(shop.model).kind == "round_robin"  # type: ignore[union-attr]


def test_a_canary_has_the_share_that_was_chosen_and_any_kind(staff: Client, shop: Shop) -> None:
    sent = draft(shop, kind="round_robin", action="canary", canary_percent="35")
    assert staff.post(PAGE, sent).status_code == 302
    trial = Trial.objects.get()
    assert (trial.policy.state, trial.policy.canary_share) == (PolicyState.CANARY, 0.35)
    assert (trial.policy.kind, trial.baseline.kind) == ("round_robin", "late_binding")
    assert str(trial.asked_by) == "staff@example.com"
    assert "A person wrote it." in staff.get("/routes/author/slug").content.decode()
    # One trial at a time; publishing directly ends it.
    again = draft(shop, action="canary", expected_version="1")
    assert staff.post(PAGE, again).status_code == 422
    assert "is open" in staff.get(PAGE).content.decode()
    assert staff.post(PAGE, draft(shop, expected_version="1")).status_code == 302
    trial.policy.refresh_from_db()
    assert trial.policy.state == PolicyState.DISMISSED


def test_the_diff_follows_what_is_typed(staff: Client, shop: Shop) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING)
    same = staff.post(f"{PAGE}/draft", draft(shop)).content.decode()
    assert "Nothing yet" in same
    changed = staff.post(f"{PAGE}/draft", draft(shop, shared="on", hedge_percent="1"))
    text = changed.content.decode()
    assert "Placed by every router" in text
    assert "1 %" in text
    assert "Not a valid policy yet" in (
        staff.post(f"{PAGE}/draft", draft(shop, wait_weight="")).content.decode()
    )


def test_any_version_can_be_begun_from_and_rolled_back_to(staff: Client, shop: Shop) -> None:
    policy_publish(model=shop.model, kind=PolicyKind.C3, wait_weight=7.5)
    policy_publish(model=shop.model, kind=PolicyKind.ROUND_ROBIN)
    text = staff.get(f"{PAGE}?from=1").content.decode()
    assert 'value="7.5"' in text
    assert 'name="expected_version" value="2"' in text
    revert = "/routes/author/slug/revert"
    refused = staff.post(revert, {"version": "1", "expected_version": "1", "confirmed": "1"})
    assert refused.status_code == 409
    assert "version 2 is now" in refused.content.decode()
    for odd in ("9" * 5_000, "x"):
        seen = {"version": "1", "expected_version": odd, "confirmed": "1"}
        assert staff.post(revert, seen).status_code == 409
    wanted = {"version": "1", "expected_version": "2"}
    assert "in the last hour" in staff.post(revert, wanted).content.decode()
    assert staff.post(revert, {**wanted, "confirmed": "1"}).status_code == 302
    assert policy_in_force(shop.model).wait_weight == 7.5  # type: ignore[union-attr]


def test_a_preview_asks_what_if_and_keeps_the_draft(staff: Client, shop: Shop) -> None:
    sent = draft(shop, kind="round_robin", action="preview", stretch="hour", wait_weight="3")
    text = staff.post(PAGE, sent).content.decode()
    asked = WhatIf.objects.get()
    assert asked.question["policy"]["kind"] == "round_robin"
    assert asked.question["policy"]["wait_weight"] == 3.0
    assert 'value="3"' in text
    poll = f"/previews/{asked.pk}"
    assert f'hx-get="{poll}"' in text
    assert not Policy.objects.exists()
    asked.state, asked.error = JobState.FAILED, "no calls in that stretch"
    asked.save()
    ended = staff.get(poll).content.decode()
    assert "no calls in that stretch" in ended
    assert "hx-get" not in ended


def test_only_staff_write_policies(shop: Shop) -> None:
    assert Client().get(PAGE).status_code == 302
    member = signed_in(shop.owner)
    assert member.get(PAGE).status_code == 403
    assert member.post(PAGE, draft(shop)).status_code == 403
    assert member.post(f"{PAGE}/draft", draft(shop)).status_code == 403


def test_the_api_locks_tries_compares_and_rolls_back(staff: Client, shop: Shop) -> None:
    sent = {"model": "author/slug", "kind": "c3", "expected_version": 0}
    first = staff.post("/api/v1/policies", sent, **JSON)
    assert first.status_code == 201
    assert first.json()["created_by"] == "staff@example.com"
    assert Client().get(f"/api/v1/policies/{first.json()['id']}").json()["created_by"] is None
    problem = staff.post("/api/v1/policies", {**sent, "kind": "round_robin"}, **JSON)
    assert problem.status_code == 409
    received = problem.json()
    assert received["current_version"] == 1
    assert received["changed_meanwhile"][0]["field"] == "kind"
    second = {**sent, "expected_version": 1, "wait_weight": 8.0}
    assert staff.post("/api/v1/policies", second, **JSON).status_code == 201
    path = "/api/v1/policies/diff?model=author/slug&before=1&after="
    changes = staff.get(f"{path}2").json()["changes"]
    assert changes == [
        {"field": "wait_weight", "label": "Wait weight", "before": "5", "after": "8"}
    ]
    assert staff.get(f"{path}9").status_code == 400
    back = f"/api/v1/policies/{first.json()['id']}/republish"
    assert staff.post(back, {"expected_version": 1}, **JSON).status_code == 409
    assert staff.post(back, {"expected_version": 2}, **JSON).json()["version"] == 3
    trial = {"model": "author/slug", "kind": "round_robin", "canary_share": 0.2}
    tried = staff.post("/api/v1/policies", trial, **JSON).json()
    assert (tried["state"], tried["canary_share"]) == ("canary", 0.2)
    member = signed_in(shop.owner)
    assert member.post(back, {}, **JSON).status_code == 403


def test_weights_of_another_models_deployments_are_refused(staff: Client, shop: Shop) -> None:
    sent = {"model": "author/slug", "weights": {"999999": 2.0}}
    problem = staff.post("/api/v1/policies", sent, **JSON)
    assert problem.status_code == 400
    assert "No deployment of this model: 999999" in problem.json()["detail"]
