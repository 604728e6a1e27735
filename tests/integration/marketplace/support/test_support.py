"""The support view: what finds what, what is shown, and that each look is kept."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import translation

from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create
from marketplace.billing.credit.services import credit_request
from marketplace.billing.models import StaffTransfer
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.support import selectors
from marketplace.support.models import Look, LookKind
from router.contracts.record import CandidateRecord, Candidates
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.ledger import USD, as_owner
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.activate("en")


def test_a_customer_is_found_by_what_they_can_tell(shop: Shop) -> None:
    row, key = api_key_create(organisation=shop.organisation, name="checkout")
    call = settled_call(shop)
    User.objects.create_user("wp@example.com")
    for text, kind in (
        ("acm", "organisation"),
        ("OWNER@", "person"),
        ("wp@", "person"),
        (key, "key"),
        (key[-4:], "key"),
        (str(call), "call"),
    ):
        hits = selectors.search(text)
        assert kind in {hit.kind for hit in hits}, text
        assert key not in {hit.detail for hit in hits}
    assert selectors.search(key)[0].detail == row.masked
    assert selectors.search(key[:-1] + ("a" if key[-1] != "a" else "b")) == []
    assert selectors.search("a") == []
    assert selectors.search("") == []


def test_a_pasted_key_is_kept_nowhere(
    staff: Client, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    _row, key = api_key_create(organisation=shop.organisation, name="checkout")
    answer = staff.post("/support", {"q": key})
    assert "/support/acme" in answer.content.decode()
    assert key not in answer.content.decode()
    look = Look.objects.get()
    assert (look.kind, look.staff) == (LookKind.SEARCH, "staff@example.com")
    assert key not in look.subject
    assert key not in caplog.text
    # By GET nothing is searched: what is typed is in no address.
    staff.get("/support", {"q": key})
    assert Look.objects.count() == 1


def test_an_organisation_is_seen_and_that_is_recorded(staff: Client, shop: Shop) -> None:
    row, key = api_key_create(organisation=shop.organisation, name="checkout")
    settled_call(shop)
    answer = staff.get("/support/acme")
    text = answer.content.decode()
    for shown in ("owner@example.com", row.masked, "$10.00", "author/slug", "staff@example.com"):
        assert shown in text, shown
    assert key not in text
    assert answer.headers["Cache-Control"] == "no-store"
    assert staff.get(f"/support/people/{shop.owner.pk}").status_code == 200
    kinds = list(Look.objects.values_list("kind", "subject"))
    assert kinds == [("person", "owner@example.com"), ("organisation", "acme")]


def test_a_call_of_anybody_is_seen_with_its_decision(staff: Client, shop: Shop) -> None:
    call = settled_call(shop)
    text = staff.get(f"/support/calls/{call}").content.decode()
    assert "Why this route?" in text
    assert Look.objects.get().organisation == "acme"


def test_a_place_that_was_ruled_out_has_no_score(staff: Client, shop: Shop) -> None:
    chosen = CandidateRecord(shop.deployment.pk, "fast-0", "fast", "chosen", 0.0, 20.0, 0.02)
    drained = CandidateRecord(shop.deployment.pk, "old-0", "fast", "draining", 0.0, 0.0, 0.0)
    call = settled_call(shop, candidates=Candidates(lambda: (drained, chosen)))
    text = staff.get(f"/support/calls/{call}").text
    rows = re.findall(r'<tr[^>]*><td class="mono">(fast-0|old-0)</td>(.*?)</tr>', text)
    figures = {name: re.findall(r'class="num"[^>]*>([^<]+)<', rest) for name, rest in rows}
    assert figures == {"fast-0": ["0 ms", "20 ms", "0.020"], "old-0": ["–", "–", "–"]}


def test_looks_are_not_rewritten(staff: Client, shop: Shop) -> None:
    staff.get("/support/acme")
    for act in (lambda: Look.objects.update(staff="x"), lambda: Look.objects.all().delete()):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            act()
    for statement in ("UPDATE support_look SET staff = 'x'", "DELETE FROM support_look"):
        with pytest.raises(DatabaseError, match="not rewritten"), transaction.atomic():
            as_owner(statement)


@pytest.mark.parametrize("path", ["/support", "/support/acme", "/support/people/1"])
def test_only_staff_see_customers(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 302
    member = signed_in(shop.owner)
    assert member.get(path).status_code == 403
    assert member.get("/api/v1/support/acme").status_code == 403
    assert member.post("/api/v1/support", {"q": "acme"}).status_code == 403
    assert member.get("/api/v1/looks").status_code == 403
    assert not Look.objects.exists()


def test_the_view_is_read_only(staff: Client, shop: Shop) -> None:
    assert staff.post("/support/acme").status_code == 405
    assert staff.delete("/api/v1/support/acme").status_code == 405
    assert staff.patch("/api/v1/looks").status_code == 405


def test_the_api_shows_the_same_and_records_it(staff: Client, shop: Shop) -> None:
    row, _key = api_key_create(organisation=shop.organisation, name="checkout")
    settled_call(shop)
    hits = staff.post("/api/v1/support", {"q": "acme"}, content_type="application/json").json()
    assert hits[0]["organisation"] == "acme"
    received = staff.get("/api/v1/support/acme").json()
    assert received["keys"][0]["masked"] == row.masked
    assert received["calls"][0]["model"] == "author/slug"
    looks = staff.get("/api/v1/looks").json()["results"]
    assert [look["kind"] for look in looks] == ["organisation", "search"]


def test_a_customer_costs_as_many_queries_however_busy(
    staff: Client, shop: Shop, django_assert_max_num_queries: Callable[..., object]
) -> None:
    with django_assert_max_num_queries(15):
        selectors.customer(shop.organisation)
    for n in range(4):
        api_key_create(organisation=shop.organisation, name=f"k{n}", created_by=shop.owner)
        settled_call(shop)
    with django_assert_max_num_queries(15):
        selectors.customer(shop.organisation)


def test_a_request_for_credit_is_answered_with_one_click_on_the_customers_page(
    staff: Client, shop: Shop
) -> None:
    asked = credit_request(
        organisation=shop.organisation,
        amount_cents=2_000,
        reason="a first look",
        requested_by=shop.owner,
    )
    page = staff.get("/support/acme").text
    assert "a first look" in page
    grant = f"/credit-requests/{asked.pk}/grant"
    assert grant in page
    after = staff.post(grant, {"on_customer": "1"}, follow=True)
    assert after.redirect_chain == [("/support/acme", 302)]
    assert "Acme: Granted." in after.text
    assert grant not in after.text
    assert shop.customer_account.posted_nano == 30 * USD


def test_staff_grant_credit_on_the_customers_page_once_for_each_form(
    staff: Client, shop: Shop
) -> None:
    once = staff.get("/support/acme").context["form"]["once"].value()
    form = {"amount": "5.00", "reason": "a delay of ours", "once": str(once)}
    for _ in range(2):  # a double click
        assert "$5.00 granted" in staff.post("/support/acme/credit", form, follow=True).text
    assert shop.customer_account.posted_nano == 15 * USD
    order = StaffTransfer.objects.get(reason="a delay of ours")
    assert order.ordered_by.email == "staff@example.com"
    assert not ledger_proof().gaps


@pytest.mark.parametrize("wrong", [{"amount": "0"}, {"reason": ""}, {"once": ""}, {"once": "x"}])
def test_a_grant_that_is_wrong_moves_nothing(
    staff: Client, shop: Shop, wrong: dict[str, str]
) -> None:
    form = {
        "amount": "5.00",
        "reason": "r",
        "once": "8a1f6a0e-6a0c-4d8e-9a52-0d3a5b0e6c11",
        **wrong,
    }
    assert staff.post("/support/acme/credit", form).status_code == 422
    assert shop.customer_account.posted_nano == 10 * USD


def test_only_staff_grant_credit(shop: Shop) -> None:
    client = signed_in(shop.owner)
    assert client.post("/support/acme/credit", {"amount": "5.00"}).status_code == 403


def test_limits_are_set_on_the_customers_page(staff: Client, shop: Shop) -> None:
    assert staff.post("/support/acme/limits", {"calls_at_once": "0"}).status_code == 422
    staff.post("/support/acme/limits", {"calls_at_once": "7"})
    shop.organisation.refresh_from_db()
    assert (shop.organisation.calls_at_once, shop.organisation.tokens_per_minute) == (7, None)


def test_limits_are_for_staff_to_set(shop: Shop) -> None:
    owner = signed_in(shop.owner)
    assert owner.post("/support/acme/limits", {"calls_at_once": "7"}).status_code == 403
