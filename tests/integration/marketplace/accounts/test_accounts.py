"""People: signing up and in, second steps, settings, leaving."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core import mail
from django.test import Client

from marketplace.accounts import services
from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.invitations.tokens import invitation_token
from marketplace.accounts.models import ApiKey, Membership, Organisation, Role, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.accounts.sign_in.mail import MailNotSetUp
from tests.integration.marketplace.accounts.visiting import (
    PASSWORD,
    is_signed_in,
    link_in,
    sign_in,
    sign_up,
    totp_of,
)
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


# --- signing up and in -------------------------------------------------------------------------


def test_without_mail_one_signs_up_and_founds_an_organisation(without_mail: None) -> None:
    client = Client()
    answer = client.post("/signup/", {"email": "New@Example.com", "password1": PASSWORD})
    assert answer.headers["Location"] == "/welcome"
    # Where an organisation is needed one is led to make one.
    assert client.get("/keys").headers["Location"] == "/welcome"
    for expected in ("my-firm", "my-firm-2"):
        client.post("/welcome", {"name": "My firm"})
        assert client.get("/organisation").context["organisation"].slug == expected
    assert client.get("/keys").status_code == 200
    assert Membership.objects.filter(role=Role.OWNER).count() == 2


def test_a_name_that_is_the_platforms_is_refused_by_the_form(without_mail: None) -> None:
    client = Client()
    sign_up(client)
    refused = client.post("/welcome", {"name": "Waypost Friends"})
    assert refused.status_code == 422
    assert refused.context["form"].errors == {
        "name": ["waypost- is reserved for the platform."],
    }
    assert not Membership.objects.exists()


def test_a_person_founds_so_many_organisations_and_no_more(
    without_mail: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ORGANISATIONS_MAX", 1)
    client = Client()
    sign_up(client)
    client.post("/welcome", {"name": "One"})
    refused = client.post("/welcome", {"name": "Two"})
    assert refused.status_code == 422
    assert "You own 1 organisations already" in refused.content.decode()
    body = {"name": "Two", "slug": "two"}
    assert client.post("/api/v1/organisations", body, "application/json").status_code == 400
    assert Organisation.objects.count() == 1


def test_with_mail_an_address_is_proved_first(with_mail: None) -> None:
    client = Client()
    assert sign_up(client) == 302
    assert not is_signed_in(client)
    path = link_in(mail.outbox[0].body)
    assert b"new@example.com" in client.get(path).content
    client.post(path)
    assert is_signed_in(client)
    assert EmailAddress.objects.get(email="new@example.com").verified


def test_the_page_that_one_came_for_is_next_after_the_proof(with_mail: None) -> None:
    client = Client()
    sign_up(client, next="/auth?client_id=Tool")
    answer = client.post(link_in(mail.outbox[0].body))
    assert answer.headers["Location"] == "/auth?client_id=Tool"


def test_the_page_that_one_came_for_is_next_in_another_browser_too(with_mail: None) -> None:
    sign_up(Client(), next="/auth?client_id=Tool&scope=inference")
    (link,) = re.findall(r"http://\S+", mail.outbox[0].body)
    phone = Client()
    page = phone.get(link.removeprefix("http://127.0.0.1:8000"))
    asked = page.context["redirect_field_value"]
    assert page.context["redirect_field"] in page.content.decode()
    answer = phone.post(link_in(mail.outbox[0].body), {"next": asked})
    assert answer.headers["Location"] == "/auth?client_id=Tool&scope=inference"
    # It is proved; one signs in there with the password, and comes back to that page.
    assert not is_signed_in(phone)
    assert sign_in(phone, "new@example.com") == 302
    sign_up(Client(), "newer@example.com", next="https://elsewhere.example/")
    assert "elsewhere" not in mail.outbox[-1].body


@pytest.mark.parametrize("name", ["key", "models", "call"])
def test_next_is_no_name_of_a_view(without_mail: None, name: str) -> None:
    client = Client()
    sign_up(client)
    made = client.post(f"/welcome?next={name}", {"name": "Mine"})
    assert made.headers["Location"] == "/start"


def test_an_address_that_is_taken_is_told_by_mail_only(with_mail: None, person: User) -> None:
    assert sign_up(Client(), person.email) == 302
    assert User.objects.count() == 1
    assert "/password/reset/" in mail.outbox[0].body


def test_a_weak_password_is_refused_with_a_word(without_mail: None) -> None:
    page = Client().post("/signup/", {"email": "new@example.com", "password1": "12345"})
    assert b'role="alert"' in page.content
    assert not User.objects.exists()


def test_sign_up_can_be_by_invitation_only(without_mail: None, settings: Any, shop: Shop) -> None:
    settings.WAYPOST_SIGN_UP_OPEN = False
    closed = Client()
    sign_up(closed)
    assert User.objects.count() == 1
    assert b"/signup/" not in closed.get("/login/").content
    invited = Client()
    asked = invitation_create(
        organisation=shop.organisation, email="new@example.com", role=Role.VIEWER, invited_by=None
    )
    invited.get(f"/invitations/{invitation_token(asked)}")
    sign_up(invited, "another@example.com")
    assert not User.objects.filter(email="another@example.com").exists()
    assert invited.get("/signup/").status_code == 200
    sign_up(invited, " New@example.com")
    assert User.objects.filter(email="new@example.com").exists()


def test_a_capital_letter_or_a_wrong_password(person: User) -> None:
    client = Client()
    assert sign_in(client, "ANA@example.com", "wrong") == 200
    assert not is_signed_in(client)
    assert sign_in(client, "ANA@example.com") == 302
    assert is_signed_in(client)


def test_a_code_by_mail_signs_in_without_a_password(with_mail: None, person: User) -> None:
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    client = Client()
    client.post("/login/code/", {"email": person.email})
    (code,) = re.findall(r"^[A-Z0-9]{3,}-?[A-Z0-9]{3,}$", mail.outbox[0].body, re.MULTILINE)
    client.post("/login/code/confirm/", {"code": code})
    assert is_signed_in(client)


@pytest.mark.parametrize("path", ["/login/code/", "/password/reset/", "/email/"])
def test_pages_that_need_mail_say_so_where_there_is_none(
    without_mail: None, person: User, path: str
) -> None:
    client = signed_in(person)
    for page in (client.get(path), client.post(path, {"email": person.email})):
        assert b"Email is not set up here" in page.content


def test_mail_that_is_not_set_up_fails_loudly(without_mail: None) -> None:
    with pytest.raises(MailNotSetUp, match="EMAIL_URL"):
        mail.send_mail("Hello", "", None, ["a@example.com"])


def test_a_forgotten_password_is_reset_by_a_link(with_mail: None, person: User) -> None:
    client = Client()
    client.post("/password/reset/", {"email": person.email})
    form = client.get(link_in(mail.outbox[0].body), follow=True)
    client.post(
        form.request["PATH_INFO"], {"password1": "an-other-0ne", "password2": "an-other-0ne"}
    )
    person.refresh_from_db()
    assert person.check_password("an-other-0ne")


# --- a second step -----------------------------------------------------------------------------


def test_a_second_step_is_asked_for_and_a_recovery_code_is_good_once(person: User) -> None:
    totp_of(person)
    (code, *_) = (
        Authenticator.objects.get(user=person, type="recovery_codes").wrap().get_unused_codes()
    )
    for works in (True, False):
        client = Client()
        assert sign_in(client) == 302
        assert not is_signed_in(client)
        client.post("/2fa/authenticate/", {"code": "000000"})
        assert not is_signed_in(client)
        client.post("/2fa/authenticate/", {"code": code})
        assert is_signed_in(client) is works


def test_the_admins_door_is_the_same(person: User) -> None:
    person.is_staff = person.is_superuser = True
    person.save()
    totp_of(person)
    client = Client()
    asked = client.get("/admin/login/?next=/admin/")
    assert asked.headers["Location"].startswith("/login/")
    client.post("/admin/login/", {"username": person.email, "password": PASSWORD})
    sign_in(client)
    assert client.get("/admin/").status_code == 302


def test_setting_up_an_app_asks_for_the_password_and_gives_recovery_codes(person: User) -> None:
    client = signed_in(person)
    assert "/reauthenticate/" in client.get("/2fa/totp/activate/").headers["Location"]
    client.post("/reauthenticate/", {"password": PASSWORD})
    page = client.get("/2fa/totp/activate/")
    assert b"data:image/svg" in page.content
    assert client.post("/2fa/totp/activate/", {"code": "1"}).status_code == 200
    assert client.get("/2fa/webauthn/add/").status_code == 200


# --- settings ----------------------------------------------------------------------------------


def test_a_language_is_kept_with_the_person(person: User) -> None:
    client = signed_in(person)
    client.post("/settings/profile", {"full_name": "Ana", "language": "pt-br"})
    elsewhere = Client(headers={"Accept-Language": "en"})
    elsewhere.force_login(person)
    assert '<html lang="pt-br">' in elsewhere.get("/").content.decode()
    elsewhere.post("/language", {"language": "en", "next": "/"})
    assert '<html lang="en">' in client.get("/").content.decode()


def test_other_sessions_can_be_ended(person: User) -> None:
    here, there = Client(), Client()
    assert (sign_in(here), sign_in(there)) == (302, 302)
    assert b"Sign out everywhere else" in here.get("/sessions/").content
    here.post("/sessions/")
    assert is_signed_in(here)
    assert not is_signed_in(there)


def test_the_only_owner_neither_leaves_nor_is_deleted(shop: Shop) -> None:
    shop.owner.set_password(PASSWORD)
    shop.owner.save()
    client = Client()
    sign_in(client, shop.owner.email)
    client.post("/reauthenticate/", {"password": PASSWORD})
    left = client.post("/settings/leave", {"slug": "acme", "confirmed": "1"})
    deleted = client.post("/settings/delete", {"email": shop.owner.email})
    for page in (left, deleted):
        assert page.status_code == 422
        assert b"at least one owner" in page.content
    assert User.objects.filter(pk=shop.owner.pk).exists()


def test_a_deleted_account_leaves_its_keys_behind(shop: Shop, person: User) -> None:
    Membership.objects.create(organisation=shop.organisation, user=person, role=Role.DEVELOPER)
    api_key_create(organisation=shop.organisation, name="stays", created_by=person)
    client = Client()
    sign_in(client)
    client.post("/reauthenticate/", {"password": PASSWORD})
    assert client.post("/settings/delete", {"email": "typo@example.com"}).status_code == 422
    assert client.post("/settings/delete", {"email": person.email}).status_code == 302
    assert not User.objects.filter(email="ana@example.com").exists()
    assert ApiKey.objects.get().created_by is None
    assert not is_signed_in(client)


def test_a_person_without_a_fresh_password_does_not_delete(shop: Shop, person: User) -> None:
    client = signed_in(person)
    answer = client.post("/settings/delete", {"email": person.email})
    assert "/reauthenticate/" in answer.headers["Location"]
    assert User.objects.filter(pk=person.pk).exists()
    # The password given, what was asked for happens.
    client.post(answer.headers["Location"], {"password": PASSWORD})
    assert not User.objects.filter(pk=person.pk).exists()


@pytest.mark.parametrize(
    "path",
    [
        "/login/",
        "/signup/",
        "/welcome",
        "/settings",
        "/2fa/",
        "/sessions/",
        "/2fa/webauthn/",
        "/password/change/",
        "/3rdparty/",
        "/organisation",
    ],
)
def test_each_page_opens_without_inline_code(shop: Shop, path: str) -> None:
    client = Client()
    if path not in {"/login/", "/signup/"}:
        client.force_login(shop.owner)
    page = client.get(path, follow=True)
    assert page.status_code == 200
    text = page.content.decode()
    assert not re.search(r"<script(?![^>]*(src=|application/json))", text)
    assert not re.search(r"\son\w+=", text)


def test_a_stranger_changes_nothing_in_an_organisation(shop: Shop) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    membership = shop.organisation.memberships.get()
    client = signed_in(stranger)
    paths = [f"/organisation/members/{membership.pk}/{verb}" for verb in ("role", "remove")]
    for path in paths:
        assert client.post(path, {"role": "viewer"}).status_code == 404
    assert Organisation.objects.get(slug="acme").memberships.get().role == Role.OWNER
