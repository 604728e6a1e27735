"""Budgets on the pages, and the reconciliation that staff see."""

import re
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import translation

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import api_key_create, member_set, organisation_create
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.models import Budget, Window
from marketplace.billing.recovery import router_write_off
from marketplace.billing.services import ledger_reconcile
from tests.databases import ROLE
from tests.integration.marketplace.ledger import USD, intrude, lease_take, record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def client_with_role(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    member_set(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


def spend(shop: Shop, budget: Budget, spent: int, held: int) -> None:
    lease = lease_take(shop.customer_account.pk, 1, spent + held, budgets=(budget.pk,))
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=spent,
            lease_id=lease,
        )
    )


def words(client: Client, path: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(path).content.decode()))


# --- keys --------------------------------------------------------------------------------------


def test_a_key_is_made_with_a_budget_and_shows_how_it_stands(shop: Shop, owner: Client) -> None:
    made = {"name": "mine", "budget_usd": "2.5", "window": "week"}
    assert owner.post("/keys/create", made).status_code == 302
    budget = shop.organisation.api_keys.get().budget
    assert (budget.limit_nano, budget.window) == (2_500_000_000, "week")
    spend(shop, budget, spent=USD // 2, held=USD)
    said = words(owner, "/keys")
    assert "$0.50 of $2.50 spent" in said
    assert "$1.00 held · $1.00 left · resets on" in said


def test_a_keys_budget_is_changed_and_taken_away(shop: Shop, owner: Client) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="mine", calls_at_once=3)
    path = f"/keys/{row.pk}"
    owner.post(path, {"name": "new", "budget_usd": "0.000000001", "window": "ever"})
    row.refresh_from_db()
    assert (row.name, row.calls_at_once, row.budget.limit_nano) == ("new", None, 1)
    assert b'value="0.000000001"' in owner.get(path).content
    assert "never resets" in words(owner, path)
    owner.post(path, {"name": "new", "budget_usd": "", "window": "ever", "calls_at_once": "2"})
    assert not Budget.objects.exists()
    row.refresh_from_db()
    assert row.calls_at_once == 2


@pytest.mark.parametrize("wrong", ["-1", "many", "0.0000000001", "1e99"])
def test_a_budget_that_is_no_amount_is_refused_with_a_word(
    shop: Shop, owner: Client, wrong: str
) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="mine")
    for path in ("/keys/create", f"/keys/{row.pk}", "/budgets/organisation"):
        response = owner.post(path, {"name": "x", "budget_usd": wrong, "u0-budget_usd": wrong})
        assert response.status_code == 422, path
        assert b'role="alert"' in response.content
    assert not Budget.objects.exists()
    assert shop.organisation.api_keys.count() == 1


def test_the_right_to_change_a_key_includes_its_budget(shop: Shop) -> None:
    plain, _ = api_key_create(organisation=shop.organisation, name="mine")
    managing, _ = api_key_create(organisation=shop.organisation, name="m", scopes=["management"])
    for role, statuses in (
        (Role.ADMIN, (200, 200)),
        (Role.DEVELOPER, (200, 403)),
        (Role.BILLING, (403, 403)),
    ):
        client = client_with_role(shop, role)
        found = tuple(client.get(f"/keys/{row.pk}").status_code for row in (plain, managing))
        assert found == statuses, role
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.post(f"/keys/{plain.pk}", {"name": "x"}).status_code == 404


def test_the_keys_page_asks_as_often_for_one_key_as_for_many(shop: Shop, owner: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            owner.get("/keys")
        return len(asked)

    for name in "ab":
        key, _ = api_key_create(organisation=shop.organisation, name=name)
        budget_set(organisation=shop.organisation, limit_nano=1, key=key)
    owner.get("/keys")
    before = queries()
    for name in "cdef":
        key, _ = api_key_create(organisation=shop.organisation, name=name)
        budget_set(organisation=shop.organisation, limit_nano=1, key=key)
    assert queries() == before


# --- organisation and members ------------------------------------------------------------------


def test_budgets_of_the_organisation_and_its_members(shop: Shop, owner: Client) -> None:
    whole = {"u0-budget_usd": "100", "u0-window": "month"}
    assert owner.post("/budgets/organisation", whole).status_code == 302
    mine = {f"u{shop.owner.pk}-budget_usd": "3", f"u{shop.owner.pk}-window": "day"}
    assert owner.post(f"/budgets/members/{shop.owner.pk}", mine).status_code == 302
    found = Budget.objects.order_by("pk").values_list("user", "limit_nano", "window")
    assert list(found) == [(None, 100 * USD, "month"), (shop.owner.pk, 3 * USD, "day")]
    said = words(owner, "/budgets")
    assert "$0 of $100.00 spent" in said
    assert "$0 of $3.00 spent" in said
    owner.post("/budgets/organisation", {"u0-budget_usd": "", "u0-window": "month"})
    assert Budget.objects.get().user == shop.owner


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.OWNER, 302),
        (Role.ADMIN, 302),
        (Role.BILLING, 302),
        (Role.DEVELOPER, 403),
        (Role.VIEWER, 403),
    ],
)
def test_only_some_roles_set_budgets_of_others(shop: Shop, role: Role, status: int) -> None:
    client = client_with_role(shop, role)
    body = {"u0-budget_usd": "1", "u0-window": "day"}
    assert client.post("/budgets/organisation", body).status_code == status
    assert (b"<form" in client.get("/budgets").content.split(b"<main")[1]) == (status == 302)


def test_a_budget_is_set_for_members_only(shop: Shop, owner: Client) -> None:
    other = User.objects.create_user("other@example.com")
    body = {f"u{other.pk}-budget_usd": "1"}
    assert owner.post(f"/budgets/members/{other.pk}", body).status_code == 404


def test_the_budget_of_a_member_who_left_is_seen_and_can_go(shop: Shop, owner: Client) -> None:
    gone = User.objects.create_user("gone@example.com")
    membership = member_set(organisation=shop.organisation, user=gone, role=Role.DEVELOPER)
    budget_set(organisation=shop.organisation, limit_nano=1, user=gone, window=Window.EVER)
    membership.delete()
    assert "no longer a member" in words(owner, "/budgets")
    path = f"/budgets/members/{gone.pk}"
    assert owner.post(path, {f"u{gone.pk}-budget_usd": "5"}).status_code == 422
    assert owner.post(path).status_code == 302
    assert not Budget.objects.exists()


def test_the_pages_of_budgets_speak_portuguese(shop: Shop, owner: Client) -> None:
    budget = budget_set(organisation=shop.organisation, limit_nano=5 * USD)
    spend(shop, budget, spent=USD, held=USD)
    with translation.override("pt-br"):
        said = re.sub(
            r"<[^>]+>",
            " ",
            owner.get("/budgets", headers={"accept-language": "pt-br"}).content.decode(),
        )
    assert "$1,00 de $5,00 gastos" in said
    assert "$1,00 reservados · restam $3,00" in said


# --- reconciliation ----------------------------------------------------------------------------


def test_reconciliation_is_for_staff_and_says_what_to_do(shop: Shop, owner: Client) -> None:
    assert owner.get("/reconciliation").status_code == 403
    assert "Reconciliation" not in words(owner, "/billing")
    shop.owner.is_staff = True
    shop.owner.save()
    assert "No report yet" in words(owner, "/reconciliation")
    ledger_reconcile()
    assert "Reconciliation" in words(owner, "/billing")
    assert "The books balance" in words(owner, "/reconciliation")
    lease_take(shop.customer_account.pk, 1, 50)
    intrude("UPDATE billing_lease SET expires_at = now() - interval '1 hour'")
    ledger_reconcile()
    said = words(owner, "/reconciliation")
    assert "start router r1 again, or write it off" in said
    assert "What to do" in said
    router_write_off(router_id="r1", reason="its disk is gone", by="ana")
    ledger_reconcile()
    said = words(owner, "/reconciliation")
    assert "The books balance" in said
    assert "its disk is gone" in said


def test_staff_see_that_nobody_proves_the_books(shop: Shop, owner: Client) -> None:
    shop.owner.is_staff = True
    shop.owner.save()
    ledger_reconcile()
    intrude("UPDATE billing_reconciliationreport SET created_at = now() - interval '16 minutes'")
    assert "Check that the job processes and their scheduler run" in words(owner, "/reconciliation")


def test_staff_see_that_only_triggers_protect_the_books(
    shop: Shop, owner: Client, postgres_url: str
) -> None:
    shop.owner.is_staff = True
    shop.owner.save()
    with override_settings(SERVICES_ROLE=ROLE):
        assert "Only triggers protect the books" not in words(owner, "/reconciliation")
    owns = urlsplit(postgres_url).username
    with override_settings(SERVICES_ROLE=owns):
        said = words(owner, "/reconciliation")
    assert f"Only triggers protect the books: the services' role, {owns}, can write to them" in said
    assert "MIGRATE_DATABASE_URL" in said
