"""Every admin page opens, and what is saved there is in force."""

import json
from typing import Any

import pytest
from django.contrib import admin
from django.core.checks import run_checks
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import ApiKey, User
from marketplace.accounts.services import api_key_create
from marketplace.benchmarks.models import Profile
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.invoices.models import Statement
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statements_issue
from marketplace.billing.models import (
    Account,
    AccountKind,
    AutoRecharge,
    Budget,
    Dispute,
    Payment,
    Payout,
    Refund,
    StripeEvent,
)
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.recovery import router_write_off
from marketplace.billing.services import ledger_reconcile, payout_record
from marketplace.config.urls import root as root  # Registers the models' pages.
from marketplace.planning.advisor.models import Advice
from marketplace.routing.models import PolicyKind, SnapshotRow
from marketplace.routing.services import policy_publish
from marketplace.routing.trials.models import RouteTuning, Straggler, Trial
from tests.integration.marketplace.batches.desk import asked, chat_lines, files_in_a_folder
from tests.integration.marketplace.ledger import USD, lease_take, post_at, record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in REGISTERED if model.__module__.startswith("marketplace.")]

READ_ONLY = ["usage/usageevent"]
READ_ONLY += [f"billing/{name}" for name in ("account", "transfer", "lease", "payment")]


def test_every_page_passes_the_checks_of_django() -> None:
    assert OURS
    assert run_checks(tags=["admin"]) == []


@pytest.fixture
def staff(shop: Shop) -> Client:
    return signed_in(User.objects.create_superuser("root@example.com"))


@pytest.fixture
def full(shop: Shop) -> Shop:
    """One row of everything."""
    lease_take(shop.customer_account.pk, 1, 1, router="lost")
    router_write_off(router_id="lost", reason="test", by="test")
    budget_set(organisation=shop.organisation, limit_nano=1)
    settle(
        record(
            organisation_id=shop.organisation.pk,
            account_id=shop.customer_account.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=10,
        )
    )
    payout_record(provider=shop.provider, amount_nano=1, reference="first", ordered_by=shop.owner)
    post_at(
        Account.objects.get(kind=AccountKind.CASH).pk,
        shop.customer_account.pk,
        1,
        Month(2026, 1).start,
    )
    statements_issue(month=Month(2026, 1))
    ledger_reconcile()
    policy_publish(model=shop.model, kind=PolicyKind.ROUND_ROBIN)
    Profile.objects.create(deployment=shop.deployment, service_ms=1, source="test")
    Advice.objects.create(organisation=shop.organisation, question={}, answer={})
    RouteTuning.objects.create(model=shop.model)
    Straggler.objects.create(worker=shop.worker, deployment=shop.deployment)
    policy = shop.model.policies.get(version=1)
    Trial.objects.create(policy=policy, baseline=policy)
    api_key_create(organisation=shop.organisation, name="k")
    payment = Payment.objects.create(
        organisation=shop.organisation, purpose="topup", amount_cents=500
    )
    Refund.objects.create(payment=payment, amount_cents=1, reason="r")
    Dispute.objects.create(payment=payment, amount_cents=1, stripe_id="dp_1")
    StripeEvent.objects.create(event_id="evt_1", kind="k", created_at=timezone.now())
    AutoRecharge.objects.create(
        organisation=shop.organisation, threshold_cents=1, amount_cents=1, cap_cents=1
    )
    grant_order(organisation=shop.organisation, amount_nano=1, reason="r", ordered_by=shop.owner)
    with files_in_a_folder():
        asked(shop, chat_lines(1))
    return shop


def test_every_page_opens(full: Shop, staff: Client) -> None:
    for model in OURS:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.first()
        assert row is not None, base
        assert staff.get(base).status_code == 200, base
        may_search = bool(admin.site._registry[model].search_fields)
        assert not may_search or staff.get(f"{base}?q=a").status_code == 200, base
        assert staff.get(f"{base}add/").status_code in {200, 403}, base
        assert staff.get(f"{base}{row.pk}/change/").status_code == 200, base


def test_saving_a_worker_publishes(shop: Shop, staff: Client) -> None:
    saved = staff.post(
        f"/admin/catalog/worker/{shop.worker.pk}/change/",
        {
            "worker_id": "fast-0",
            "pool": shop.worker.pool_id,
            "url": "http://127.0.0.1:77",
            "protocol": "openai",
            "slots": 5,
            "kv_events_port": 5557,
            "kv_replay_port": "",
            "healthy": "on",
        },
    )
    assert saved.status_code == 302
    row = SnapshotRow.objects.first()
    assert row is not None
    worker = row.body["workers"][0]
    assert worker["slots"] == 5
    assert (worker["kv_events_port"], worker["kv_replay_port"]) == (5557, 0)


def test_a_budget_is_set_and_removed_in_the_admin(shop: Shop, staff: Client) -> None:
    body = {"organisation": shop.organisation.pk, "limit_nano": 5, "window": "day"}
    assert staff.post("/admin/billing/budget/add/", body).status_code == 302
    budget = Budget.objects.get()
    path = f"/admin/billing/budget/{budget.pk}"
    assert staff.post(f"{path}/change/", {"limit_nano": 6, "window": "day"}).status_code == 302
    budget.refresh_from_db()
    assert (budget.limit_nano, budget.window) == (6, "day")
    assert staff.post(f"{path}/delete/", {"post": "yes"}).status_code == 302
    row = SnapshotRow.objects.first()
    assert row is not None
    assert row.body["budgets"] == []


def test_a_budget_of_who_is_no_member_is_refused_with_a_word(shop: Shop, staff: Client) -> None:
    body = {"organisation": shop.organisation.pk, "limit_nano": 5, "window": "day"}
    outsider = User.objects.create_user("outsider@example.com")
    page = staff.post("/admin/billing/budget/add/", {**body, "user": outsider.pk})
    assert page.status_code == 200
    assert "A budget is for members" in page.content.decode()
    assert not Budget.objects.exists()


def test_a_key_made_in_the_admin_is_shown_once(shop: Shop, staff: Client) -> None:
    rule = {"model": shop.model.name, "requests_per_minute": 2}
    body = {
        "organisation": shop.organisation.pk,
        "name": "by hand",
        "scopes": "inference",
        "calls_at_once": "3",
        "rules": json.dumps([rule]),
        "masks": "email,card",
        "guard_model": shop.model.name,
        "guard_answers": "on",
    }
    page = staff.post("/admin/accounts/apikey/add/", body, follow=True).content.decode()
    assert "wp_live_" in page
    key = ApiKey.objects.get()
    assert (key.name, key.calls_at_once, key.rules) == ("by hand", 3, [rule])
    assert (key.masks, key.guard_model) == (["email", "card"], shop.model.name)
    assert (key.guard_inputs, key.guard_answers) == (False, True)
    assert "not shown again" not in staff.get("/admin/accounts/apikey/").content.decode()


def test_a_user_is_added_by_email(shop: Shop, staff: Client) -> None:
    body = {
        "email": "new@example.com",
        "usable_password": "true",
        "password1": "a long enough phrase",
        "password2": "a long enough phrase",
    }
    assert staff.post("/admin/accounts/user/add/", body).status_code == 302
    assert User.objects.get(email="new@example.com").check_password("a long enough phrase")


def test_the_ledger_cannot_be_edited_here(shop: Shop, staff: Client) -> None:
    account = shop.customer_account
    for path in (
        "billing/account",
        "billing/transfer",
        "billing/lease",
        "billing/payment",
        "usage/usageevent",
    ):
        assert staff.get(f"/admin/{path}/add/").status_code == 403
    page = f"/admin/billing/account/{account.pk}/"
    assert staff.post(f"{page}change/", {"kind": "cash"}).status_code == 403
    assert staff.post(f"{page}delete/", {"post": "yes"}).status_code == 403


def test_a_payout_is_recorded_once_and_not_beyond_what_was_earned(
    shop: Shop, staff: Client
) -> None:
    settle(
        record(
            account_id=shop.customer_account.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=2 * USD,
        )
    )
    body = {"provider": shop.provider.pk, "amount_usd": "1.5", "reference": "WIRE-1"}
    for _ in range(2):
        assert staff.post("/admin/billing/payout/add/", body).status_code == 302
    assert [row.amount_nano for row in Payout.objects.all()] == [USD * 3 // 2]
    assert shop.provider_account.posted_nano == 1_800_000_000 - 1_500_000_000
    for wrong, said in (
        ({"reference": "WIRE-2"}, b"has $0.30 to be paid out, not $1.50"),
        ({"amount_usd": "0.1"}, b"was used for another payout"),
        ({"reference": " "}, b"required"),
        ({"amount_usd": "1e20"}, b"no more than"),
    ):
        page = staff.post("/admin/billing/payout/add/", {**body, **wrong})
        assert (page.status_code, said in page.content) == (200, True)
    assert Payout.objects.count() == 1
    assert Statement.objects.count() == 0


def test_a_policy_saved_in_the_admin_is_a_new_version(shop: Shop, staff: Client) -> None:
    weights = {"wait_weight": "5", "usd_weight_s": "20", "hedge_share": "0.05", "shared": "on"}
    for version in (1, 2):
        body = {"model": shop.model.pk, "kind": "round_robin", "note": "", **weights}
        assert staff.post("/admin/routing/policy/add/", body).status_code == 302
        latest = shop.model.policies.first()
        assert latest is not None
        assert latest.version == version
        assert (latest.usd_weight_s, latest.shared) == (20.0, True)
    too_much = {"model": shop.model.pk, "kind": "round_robin", **weights, "hedge_share": "0.9"}
    assert b"0.2" in staff.post("/admin/routing/policy/add/", too_much).content


# --- JSON that people type ------------------------------------------------------------------------

ODD = ("", "null", "[]", "{}", "[1]", '{"a": 1}', '"x"', "7")


def saved(page: Any, name: str) -> bool:
    """Whether what was typed was saved; else the page says in its field what is wrong."""
    if page.status_code == 302:
        return True
    assert page.status_code == 200
    assert page.context["adminform"].form.errors[name]
    return False


def test_rules_of_a_key_are_rules_or_an_error_of_the_form(shop: Shop, staff: Client) -> None:
    body = {"organisation": shop.organisation.pk, "name": "k", "scopes": "inference"}
    odd = (*ODD, '[{"colour": 1}]', '[{"model": "author/slug", "requests_per_minute": "2"}]')
    for text in odd:
        page = staff.post("/admin/accounts/apikey/add/", {**body, "rules": text})
        assert saved(page, "rules") == (text in {"", "null", "[]", "{}"}), text
    assert [key.rules for key in ApiKey.objects.all()] == [[]] * 4
    key = ApiKey.objects.all()[0]
    path = f"/admin/accounts/apikey/{key.pk}/change/"
    assert not saved(staff.post(path, {**body, "rules": '[{"model": "no/such"}]'}), "rules")
    rule = {"model": shop.model.name, "calls_at_once": 1}
    assert saved(staff.post(path, {**body, "rules": json.dumps([rule])}), "rules")
    key.refresh_from_db()
    assert key.rules == [rule]


def test_weights_of_a_policy_are_weights_or_an_error_of_the_form(shop: Shop, staff: Client) -> None:
    body = {"model": shop.model.pk, "kind": "c3", "wait_weight": 5, "usd_weight_s": 0}
    for text in (*ODD, '{"1": 0}', '{"a": 2}'):
        page = staff.post("/admin/routing/policy/add/", {**body, "hedge_share": 0, "weights": text})
        assert saved(page, "weights") == (text in {"", "null", "{}"}), text
    assert [row.weights for row in shop.model.policies.all()] == [{}] * 3


def test_a_batch_curve_is_one_or_an_error_of_the_form(shop: Shop, staff: Client) -> None:
    figures = ("slots", "capacity_hz", "slo_ms", "throughput_hz", "tokens_per_s", "samples")
    body = {
        "deployment": shop.deployment.pk,
        "service_ms": 10,
        "origin": "given",
        "source": "by hand",
        "published": "on",
        **dict.fromkeys(figures, 0),
    }
    odd = ("[[1, 0]]", "[[4, 1.5], [2, 1.1]]", "[[1.5, 2]]", '[["a", 1]]', "[[1, 2, 3]]")
    for text in (*ODD, *odd):
        page = staff.post("/admin/benchmarks/profile/add/", {**body, "batch_curve": text})
        assert saved(page, "batch_curve") == (text in {"", "null", "[]"}), text
    page = staff.post("/admin/benchmarks/profile/add/", {**body, "fingerprint": "[1]"})
    assert not saved(page, "fingerprint")
    curve = {"batch_curve": "[[1, 1], [4, 1.6]]"}
    assert saved(staff.post("/admin/benchmarks/profile/add/", {**body, **curve}), "batch_curve")
    row = SnapshotRow.objects.first()
    assert row is not None
    assert row.body["deployments"][0]["batch_curve"] == [[1, 1.0], [4, 1.6]]


def test_what_a_model_takes_is_described_or_an_error_of_the_form(shop: Shop, staff: Client) -> None:
    body = {
        "name": shop.model.name,
        "display_name": "Slug",
        "task": shop.model.task,
        "context_tokens_max": 1,
        "completion_tokens_max": 1,
        "published": "on",
        "versions-TOTAL_FORMS": 0,
        "versions-INITIAL_FORMS": 0,
    }
    tensors = (
        '{"inputs": {}}',
        '{"inputs": [{"name": "X", "datatype": [], "shape": [1]}]}',
        '{"inputs": [{"name": "X", "datatype": "FP32"}]}',
    )
    schemas = ('{"properties": [1]}', '{"type": "nope"}')
    right = {"", "null", "{}"}
    for name, odd, fits in (
        ("tensors", tensors, right),
        ("input_schema", schemas, right | {'{"a": 1}'}),
    ):
        for text in (*ODD, *odd):
            path = f"/admin/catalog/aimodel/{shop.model.pk}/change/"
            page = staff.post(path, {**body, name: text})
            assert saved(page, name) == (text in fits), (name, text)
