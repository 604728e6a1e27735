"""Budgets: what they cap, who may set them, what routers get; nothing exceeds them."""

import threading
import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from marketplace.accounts.models import ApiKey, Role, User
from marketplace.accounts.services import api_key_create, api_key_revoke, organisation_create
from marketplace.billing.budgets.selectors import budget_state
from marketplace.billing.budgets.services import budget_remove, budget_set
from marketplace.billing.models import Budget, Lease, Window
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.routing.models import SnapshotRow
from router.adapters.postgres.bank import RECALL_CHANNEL
from router.domain.money import Purse
from router.pipeline.plans.routing_table import build_table
from tests.integration.marketplace.config.test_api import PROBLEM, client_of, member
from tests.integration.marketplace.ledger import USD, call, intrude, lease_take, record, settle
from tests.integration.marketplace.routing.test_snapshot import published
from tests.integration.marketplace.shop import Shop

ROLES = [Role.OWNER, Role.ADMIN, Role.BILLING, Role.DEVELOPER, Role.VIEWER]


def key_of(shop: Shop, user: User | None = None, **fields: Any) -> ApiKey:
    row, _ = api_key_create(organisation=shop.organisation, name="k", created_by=user, **fields)
    return row


def purse(shop: Shop, *, user: User | None = None, key: ApiKey | None = None) -> Purse:
    """What a router pays calls from, by the snapshot that is in force."""
    return build_table(published()).purse_of(
        shop.organisation.pk,
        shop.customer_account.pk,
        user_id=user.pk if user else 0,
        key_id=key.pk if key else 0,
    )


def take(paid_from: Purse, need: int, want: int = 0, router: str = "r1") -> uuid.UUID | None:
    return lease_take(
        paid_from.account_id, need, want or need, router=router, budgets=paid_from.budgets
    )


def charge(shop: Shop, lease: uuid.UUID | None, amount: int, **values: Any) -> None:
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=amount,
            lease_id=lease or "",
            **values,
        )
    )


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[misc] # year, month, day, …


# --- what routers get -------------------------------------------------------------------------


def test_a_router_learns_whose_budget_a_call_spends(shop: Shop) -> None:
    key = key_of(shop, shop.owner)
    whole = budget_set(organisation=shop.organisation, limit_nano=9)
    members = budget_set(organisation=shop.organisation, limit_nano=9, user=shop.owner)
    keys = budget_set(organisation=shop.organisation, limit_nano=9, key=key)
    assert published().keys[0].user_id == shop.owner.pk
    assert purse(shop, user=shop.owner, key=key).budgets == (whole.pk, members.pk, keys.pk)
    assert purse(shop, user=shop.owner).budgets == (whole.pk, members.pk)
    assert purse(shop).budgets == (whole.pk,)


def test_a_budget_is_published_when_it_comes_and_goes_and_not_when_it_changes(shop: Shop) -> None:
    key = key_of(shop)
    budget = budget_set(organisation=shop.organisation, limit_nano=1, key=key)
    version = published().version
    assert [b.id for b in published().budgets] == [budget.pk]
    budget_set(organisation=shop.organisation, limit_nano=2, window=Window.DAY, key=key)
    assert published().version == version
    api_key_revoke(api_key=key)
    assert published().budgets == ()
    budget_remove(budget=budget)
    assert not Budget.objects.exists()
    assert SnapshotRow.objects.filter(version__gt=version).exists()


# --- what they cap -----------------------------------------------------------------------------


def test_a_members_budget_counts_their_keys(shop: Shop) -> None:
    keys = [key_of(shop, shop.owner), key_of(shop, shop.owner)]
    other = key_of(shop)
    budget = budget_set(organisation=shop.organisation, limit_nano=100, user=shop.owner)
    for key in keys:
        charge(shop, take(purse(shop, user=shop.owner, key=key), 40), 40)
    assert take(purse(shop, user=shop.owner), 21) is None
    assert take(purse(shop, user=shop.owner, key=keys[0]), 21) is None
    assert take(purse(shop, key=other), 21) is not None
    budget.refresh_from_db()
    assert budget.spent_nano == 80
    assert take(purse(shop, user=shop.owner), 20) is not None


def test_a_new_budget_knows_what_its_window_has_seen(shop: Shop) -> None:
    key = key_of(shop, shop.owner)
    now_ms = int(datetime.now(UTC).timestamp() * 1_000)
    call("SELECT usage_partitions_make(now() - interval '40 days', now())")
    charge(shop, None, 40, key_id=key.pk)
    charge(shop, None, 20, user_id=shop.owner.pk)
    charge(shop, None, 10)
    charge(shop, None, 500, key_id=key.pk, created_at_ms=now_ms - 40 * 24 * 3_600_000)
    of: dict[str, Any] = {"organisation": shop.organisation, "limit_nano": 100}
    made = {
        "key": budget_set(**of, key=key, window=Window.DAY),
        "member": budget_set(**of, user=shop.owner, window=Window.MONTH),
        "all": budget_set(**of, window=Window.MONTH),
    }
    assert {name: row.spent_nano for name, row in made.items()} == {
        "key": 40,
        "member": 60,
        "all": 70,
    }
    assert take(purse(shop), 31) is None
    charge(shop, take(purse(shop), 30), 30)
    assert take(purse(shop), 1) is None
    assert ledger_proof().gaps == ()
    # In its next window nothing of it is left.
    intrude("UPDATE billing_budget SET window_starts_at = window_starts_at - interval '32 days'")
    assert take(purse(shop), 100) is not None
    made["all"].refresh_from_db()
    assert (made["all"].spent_nano, made["all"].before_nano) == (0, 0)


def test_a_budget_that_never_begins_again_counts_from_when_it_was_made(shop: Shop) -> None:
    charge(shop, None, 40)
    budget = budget_set(organisation=shop.organisation, limit_nano=100, window=Window.EVER)
    assert (budget.spent_nano, budget.before_nano) == (0, 0)


def test_a_raised_limit_is_in_force_at_once(shop: Shop) -> None:
    budget_set(organisation=shop.organisation, limit_nano=10)
    paid_from = purse(shop)
    charge(shop, take(paid_from, 10), 10)
    assert take(paid_from, 1) is None
    budget_set(organisation=shop.organisation, limit_nano=11)
    assert take(paid_from, 1) is not None


def test_routers_are_asked_for_what_a_changed_limit_may_not_cover(committed_shop: Shop) -> None:
    budget_set(organisation=committed_shop.organisation, limit_nano=10)
    known = {"host", "port", "user", "password", "dbname"}
    parameters = {k: v for k, v in connection.get_connection_params().items() if k in known}
    with psycopg.connect(**parameters, autocommit=True) as listener:
        listener.execute(f"LISTEN {RECALL_CHANNEL}")
        budget_set(organisation=committed_shop.organisation, limit_nano=9)
        (recall,) = listener.notifies(timeout=120, stop_after=1)
    assert recall.payload == str(committed_shop.customer_account.pk)


def test_a_window_that_is_over_shows_nothing_spent_before_anybody_spends_again(shop: Shop) -> None:
    budget = budget_set(organisation=shop.organisation, limit_nano=100, window=Window.DAY)
    lease = take(purse(shop), 60)
    charge(shop, lease, 50)
    intrude("UPDATE billing_budget SET window_starts_at = now() - interval '25 hours'")
    budget.refresh_from_db()
    state = budget_state(budget, now=datetime.now(UTC))
    assert (budget.spent_nano, state.spent_nano, state.held_nano, state.left_nano) == (
        50,
        0,
        10,
        90,
    )
    # And so it is: the ledger gives what the page says.
    assert Lease.objects.get(pk=take(purse(shop), 1, 1_000)).amount_nano == 90


@pytest.mark.parametrize(
    ("window", "resets_at"),
    [
        (Window.EVER, None),
        (Window.DAY, at(2027, 1, 1)),
        (Window.WEEK, at(2027, 1, 4)),
        (Window.MONTH, at(2027, 1, 1)),
    ],
)
def test_a_budget_says_when_it_resets(window: Window, resets_at: datetime | None) -> None:
    budget = Budget(limit_nano=7, window=window, window_starts_at=at(2026, 12, 31), spent_nano=9)
    state = budget_state(budget, now=at(2026, 12, 31, 23, 59))
    assert state.resets_at == resets_at
    assert (state.spent_nano, state.left_nano) == (9, 0)


def test_windows_begin_where_the_ledger_begins_them(shop: Shop) -> None:
    for window in (Window.DAY, Window.WEEK, Window.MONTH):
        budget = budget_set(organisation=shop.organisation, limit_nano=100, window=window)
        charge(shop, take(purse(shop), 1), 1)
        for age, spent in (("'0 s'", 1), ("'1 microsecond'", 0)):
            intrude(
                "UPDATE billing_budget SET spent_nano = 1, window_starts_at ="
                f" date_trunc(\"window\", now(), 'UTC') - interval {age}"
            )
            budget.refresh_from_db()
            assert budget_state(budget, now=datetime.now(UTC)).spent_nano == spent


def test_a_budget_is_for_members_and_keys_of_the_organisation(shop: Shop) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    other = organisation_create(name="Other", slug="other", owner=stranger)
    theirs, _ = api_key_create(organisation=other, name="theirs")
    for whose in ({"user": stranger}, {"key": theirs}):
        with pytest.raises(ValidationError):
            budget_set(organisation=shop.organisation, limit_nano=1, **whose)
    with pytest.raises(ValidationError):
        budget_set(organisation=shop.organisation, limit_nano=-1)


def test_routers_that_spend_at_once_never_exceed_a_budget(committed_shop: Shop) -> None:
    shop = committed_shop
    budget_set(organisation=shop.organisation, limit_nano=1_000)
    paid_from, spent, errors = purse(shop), [], []

    def spend(router: str) -> None:
        try:
            while lease := take(paid_from, 7, 40, router):
                amount = Lease.objects.get(pk=lease).amount_nano
                charge(shop, lease, amount - 1)
                spent.append(amount - 1)
                call("SELECT billing_lease_close(%s)", lease)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=spend, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    budget = Budget.objects.get()
    assert budget.spent_nano == sum(spent)
    assert 1_000 - 7 < budget.spent_nano <= 1_000
    assert budget.held_nano == 0
    assert ledger_proof().gaps == ()


# --- over the management API -------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_roles_decide_who_sets_which_budget(shop: Shop, role: Role) -> None:
    key, managing = key_of(shop), key_of(shop, scopes=["management"])
    client = client_of(member(shop.organisation, role))
    minds_money = role in {Role.OWNER, Role.ADMIN, Role.BILLING}
    minds_keys = role in {Role.OWNER, Role.ADMIN, Role.DEVELOPER}
    for whose, may in (
        ({}, minds_money),
        ({"member": shop.owner.email}, minds_money),
        ({"key": key.pk}, minds_keys),
        ({"key": managing.pk}, role in {Role.OWNER, Role.ADMIN}),
    ):
        body = {"organisation": "acme", "limit_nano": 5, **whose}
        assert client.post("/api/v1/budgets", body).status_code == (201 if may else 403), whose
        budget_set(
            organisation=shop.organisation,
            limit_nano=5,
            user=shop.owner if "member" in whose else None,
            key={key.pk: key, managing.pk: managing}.get(whose.get("key")),  # type: ignore[call-overload]
        )
        path = f"/api/v1/budgets/{Budget.objects.latest('pk').pk}"
        changed = client.patch(path, {"limit_nano": 6, "window": "week"})
        assert changed.status_code == (200 if may else 403), whose
        assert client.delete(path).status_code == (204 if may else 403), whose
    assert client.get("/api/v1/budgets").status_code == 200


def test_a_budget_over_the_api_says_what_is_left(shop: Shop) -> None:
    client = client_of(shop.owner)
    key = key_of(shop, shop.owner)
    body = {"organisation": "acme", "key": key.pk, "limit_nano": 100, "window": "ever"}
    made = client.post("/api/v1/budgets", body).json()
    lease = take(purse(shop, user=shop.owner, key=key), 60)
    charge(shop, lease, 50)
    assert client.get(f"/api/v1/budgets/{made['id']}").json() == {
        "id": made["id"],
        "organisation": "acme",
        "member": None,
        "key": key.pk,
        "limit_nano": 100,
        "window": "ever",
        "spent_nano": 50,
        "held_nano": 10,
        "left_nano": 40,
        "resets_at": None,
    }
    again = client.post("/api/v1/budgets", {**body, "limit_nano": 200}).json()
    assert (again["id"], again["left_nano"]) == (made["id"], 140)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"limit_nano": -1}, "limit_nano"),
        ({"limit_nano": 2**63}, "limit_nano"),
        ({"limit_nano": 1, "window": "year"}, "window"),
        ({"limit_nano": 1, "key": 10**9}, "key"),
        ({"limit_nano": 1, "member": "nobody@example.com"}, "member"),
        ({"limit_nano": 1, "member": "owner@example.com", "key": 1}, ""),
        ({}, "limit_nano"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    shop: Shop, wrong: dict[str, Any], field: str
) -> None:
    refused = client_of(shop.owner).post("/api/v1/budgets", {"organisation": "acme", **wrong})
    assert refused.status_code == 400
    assert refused["content-type"] == PROBLEM
    assert [error["field"] for error in refused.json()["errors"]] == [field]


def test_budgets_of_another_organisation_are_not_there(shop: Shop) -> None:
    budget = budget_set(organisation=shop.organisation, limit_nano=5)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = client_of(stranger)
    path = f"/api/v1/budgets/{budget.pk}"
    assert client.get("/api/v1/budgets").json()["results"] == []
    body = {"organisation": "acme", "limit_nano": 1}
    answers = [
        client.get(path),
        client.patch(path, {"limit_nano": 1}),
        client.delete(path),
        client.post("/api/v1/budgets", body),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer["content-type"] for answer in answers} == {PROBLEM}
    # Nor does a key of ours carry a budget of theirs.
    ours = key_of(shop)
    refused = client.post(
        "/api/v1/budgets", {"organisation": "other", "limit_nano": 1, "key": ours.pk}
    )
    assert refused.status_code == 400
    budget.refresh_from_db()
    assert budget.limit_nano == 5


def test_the_balance_is_the_last_cap(shop: Shop) -> None:
    budget_set(organisation=shop.organisation, limit_nano=100 * USD)
    assert take(purse(shop), 11 * USD) is None
