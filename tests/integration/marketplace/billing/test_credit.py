"""Credit before anybody pays: the trial of a new organisation, and a request that staff answer."""

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from marketplace.accounts.models import Organisation, Role, User
from marketplace.accounts.services import member_set, organisation_found, user_delete
from marketplace.billing.credit.models import CreditRequest, TrialGrant
from marketplace.billing.models import Account, StaffTransfer
from marketplace.billing.proof.ledger import ledger_proof
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db
ASK = "/billing/credit-request"


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


def balance(organisation: Organisation) -> int:
    return Account.objects.get(organisation=organisation).posted_nano


@pytest.fixture
def staff(db: None) -> Client:
    return signed_in(User.objects.create_user("root@example.com", is_staff=True))


def ask(shop: Shop, **values: str) -> Any:
    return signed_in(shop.owner).post(ASK, {"amount": "20.00", "reason": "a first look", **values})


def test_a_new_organisation_has_the_trial_credit_of_the_platform(settings: Any) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 500
    founder = User.objects.create_user("new@example.com")
    response = signed_in(founder).post("/welcome", {"name": "Newcomer"})
    assert response.status_code == 302
    made = Organisation.objects.get(name="Newcomer")
    assert balance(made) == 5 * USD
    grant = TrialGrant.objects.get()
    assert (grant.organisation, grant.founder) == (made, founder)
    assert grant.transfer.kind == "grant"
    assert b"Trial credit" in signed_in(founder).get("/billing").content
    assert not ledger_proof().gaps


def test_founding_through_the_api_gives_it_too(settings: Any) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 500
    client = signed_in(User.objects.create_user("new@example.com"))
    made = client.post(
        "/api/v1/organisations", {"name": "N", "slug": "n"}, content_type="application/json"
    )
    assert made.status_code == 201
    assert balance(Organisation.objects.get(slug="n")) == 5 * USD


def test_a_person_gets_trial_credit_once_however_many_they_found(settings: Any) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 500
    founder = User.objects.create_user("new@example.com")
    made = [organisation_found(name=slug, slug=slug, owner=founder) for slug in ("a1", "b1", "c1")]
    assert [balance(row) for row in made] == [5 * USD, 0, 0]


def test_without_the_setting_it_begins_empty(settings: Any) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 0
    founder = User.objects.create_user("new@example.com")
    assert balance(organisation_found(name="N", slug="n", owner=founder)) == 0
    assert not TrialGrant.objects.exists()


def test_a_person_with_trial_credit_can_still_be_forgotten(settings: Any) -> None:
    settings.WAYPOST_TRIAL_CREDIT_CENTS = 500
    founder = User.objects.create_user("new@example.com")
    made = organisation_found(name="N", slug="n", owner=founder)
    member_set(organisation=made, user=User.objects.create_user("b@example.com"), role=Role.OWNER)
    user_delete(user=founder)
    assert TrialGrant.objects.get().founder is None


def test_a_request_is_granted_with_one_click_and_names_who_and_why(
    shop: Shop, staff: Client
) -> None:
    assert ask(shop).status_code == 302
    request = CreditRequest.objects.get()
    assert request.requested_by == shop.owner
    assert b"20.00" in signed_in(shop.owner).get("/billing").content
    page = staff.get("/credit-requests").content.decode()
    assert "a first look" in page
    assert f"/credit-requests/{request.pk}/grant" in page
    for _ in range(2):  # a double click
        assert staff.post(f"/credit-requests/{request.pk}/grant").status_code == 302
    assert balance(shop.organisation) == 30 * USD
    order = StaffTransfer.objects.get()
    assert (order.ordered_by.email, order.reason) == ("root@example.com", "a first look")
    request.refresh_from_db()
    assert (request.state, request.order) == ("granted", order)
    assert not ledger_proof().gaps


def test_a_declined_request_moves_nothing_says_so_and_stays_declined(
    shop: Shop, staff: Client
) -> None:
    ask(shop)
    request = CreditRequest.objects.get()
    assert staff.post(f"/credit-requests/{request.pk}/decline").status_code == 302
    assert staff.post(f"/credit-requests/{request.pk}/grant").status_code == 302
    request.refresh_from_db()
    assert request.state == "declined"
    assert balance(shop.organisation) == 10 * USD
    assert b"declined" in signed_in(shop.owner).get("/billing").content


def test_one_request_waits_at_a_time(shop: Shop, staff: Client) -> None:
    ask(shop)
    again = ask(shop)
    assert again.status_code == 422
    assert b"already has a pending request" in again.content
    assert CreditRequest.objects.count() == 1
    staff.post(f"/credit-requests/{CreditRequest.objects.get().pk}/decline")
    assert ask(shop).status_code == 302


@pytest.mark.parametrize(
    "wrong",
    [{"amount": "0"}, {"amount": "1.001"}, {"amount": "9999999"}, {"amount": "x"}, {"reason": " "}],
)
def test_a_request_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, str]) -> None:
    assert ask(shop, **wrong).status_code == 422
    assert not CreditRequest.objects.exists()


def test_only_staff_answer(shop: Shop) -> None:
    ask(shop)
    pk = CreditRequest.objects.get().pk
    client = signed_in(shop.owner)
    assert client.get("/credit-requests").status_code == 403
    assert client.post(f"/credit-requests/{pk}/grant").status_code == 403
    assert balance(shop.organisation) == 10 * USD


# --- the management API, and the mail ----------------------------------------------------------

API = "/api/v1/credit-requests"


def ask_api(client: Client, **values: object) -> Any:
    body = {"organisation": "acme", "amount_cents": 2_000, "reason": "a first look", **values}
    return client.post(API, body, content_type="application/json")


def test_a_request_is_made_by_the_api_and_says_how_it_stands(shop: Shop, staff: Client) -> None:
    client = signed_in(shop.owner)
    made = ask_api(client, organisation=shop.organisation.slug)
    assert made.status_code == 201
    asked = made.json()
    assert asked["state"] == "open"
    assert (asked["amount_cents"], asked["answered_at"]) == (2_000, None)
    again = ask_api(client, organisation=shop.organisation.slug)
    assert (again.status_code, again["Content-Type"]) == (400, "application/problem+json")
    assert "already has a pending request" in again.json()["detail"]
    staff.post(f"/credit-requests/{asked['id']}/grant")
    seen = client.get(f"{API}/{asked['id']}").json()
    assert (seen["state"], seen["answered_at"] is None) == ("granted", False)
    assert [result["id"] for result in client.get(API).json()["results"]] == [asked["id"]]
    stranger = signed_in(User.objects.create_user("far@example.com"))
    assert stranger.get(f"{API}/{asked['id']}").status_code == 404
    assert ask_api(stranger, organisation=shop.organisation.slug).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_cents": 0},
        {"amount_cents": 99_999_999},
        {"amount_cents": "x"},
        {"reason": " "},
        {"reason": "x" * 501},
    ],
)
def test_a_request_by_the_api_that_makes_no_sense_is_refused(
    shop: Shop, wrong: dict[str, object]
) -> None:
    answer = ask_api(signed_in(shop.owner), organisation=shop.organisation.slug, **wrong)
    assert answer.status_code == 400
    assert answer.json()["errors"]
    assert not CreditRequest.objects.exists()


@pytest.fixture
def staff_mail(settings: Any) -> None:
    settings.WAYPOST_STAFF_MAIL = ["root@example.com", "b@example.com"]
    settings.DEFAULT_FROM_EMAIL = "no-reply@example.com"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


def test_the_staff_get_a_mail_of_a_request(
    shop: Shop, staff_mail: None, django_capture_on_commit_callbacks: Any
) -> None:
    shop.organisation.name = "Acme\nBcc: x@example.com"
    shop.organisation.save()
    with django_capture_on_commit_callbacks(execute=True):
        ask(shop)
    (sent,) = mail.outbox
    assert sent.to == ["root@example.com", "b@example.com"]
    assert sent.subject == "Acme Bcc: x@example.com asks for 20.00 US dollars of credit"
    assert "a first look" in sent.body
    assert "/credit-requests" in sent.body
    with django_capture_on_commit_callbacks(execute=True):
        assert ask(shop).status_code == 422
    assert len(mail.outbox) == 1, "what was not made is not told"


def test_a_mail_that_is_not_taken_fails_no_request(
    shop: Shop, staff_mail: None, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.EMAIL_BACKEND = "marketplace.accounts.sign_in.mail.NoMail"
    with django_capture_on_commit_callbacks(execute=True):
        assert ask(shop).status_code == 302
    assert CreditRequest.objects.count() == 1
