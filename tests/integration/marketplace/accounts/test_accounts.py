"""People: signing up and in, its limits, second steps, invitations, settings, leaving."""

import re
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.core.internal import ratelimit
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.test import Client, RequestFactory
from django.utils import timezone

from marketplace.accounts.invitations import services
from marketplace.accounts.invitations.services import invitation_create, invitation_resend
from marketplace.accounts.invitations.tokens import invitation_token
from marketplace.accounts.models import ApiKey, Invitation, Membership, Organisation, Role, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.accounts.sign_in import known_browsers
from marketplace.accounts.sign_in.mail import MailNotSetUp
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db
PASSWORD = "correct-horse-battery"


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def _no_attempts() -> None:
    cache.clear()


@pytest.fixture
def with_mail(settings: Any) -> None:
    settings.MAIL_ON = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.DEFAULT_FROM_EMAIL = "no-reply@example.com"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.ACCOUNT_PREVENT_ENUMERATION = True


@pytest.fixture
def without_mail(settings: Any) -> None:
    settings.EMAIL_BACKEND = "marketplace.accounts.sign_in.mail.NoMail"


@pytest.fixture
def person() -> User:
    return User.objects.create_user("ana@example.com", PASSWORD)


def sign_in(client: Client, email: str = "ana@example.com", password: str = PASSWORD) -> int:
    return client.post("/login/", {"login": email, "password": password}).status_code


def is_signed_in(client: Client) -> bool:
    return client.get("/settings").status_code == 200


def sign_up(client: Client, email: str = "new@example.com", **more: str) -> int:
    return client.post(
        "/signup/", {"email": email, "password1": PASSWORD, "full_name": "New", **more}
    ).status_code


def link_in(message: str) -> str:
    """The path of the one link of a mail."""
    (link,) = re.findall(r"http://\S+", message)
    return urlsplit(link).path


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
    sign_up(invited)
    assert User.objects.filter(email="new@example.com").exists()


def test_a_capital_letter_or_a_wrong_password(person: User) -> None:
    client = Client()
    assert sign_in(client, "ANA@example.com", "wrong") == 200
    assert not is_signed_in(client)
    assert sign_in(client, "ANA@example.com") == 302
    assert is_signed_in(client)


def guess(times: int, *, machines: int = 1) -> None:
    """Wrong passwords for Ana, from other machines than hers."""
    for number in range(times):
        sign_in(Client(REMOTE_ADDR=f"198.51.100.{number % machines}"), password="wrong")


def test_one_address_takes_five_wrong_passwords_of_a_machine_in_five_minutes(person: User) -> None:
    guess(5)
    # Also with the right one.
    guessing = Client(REMOTE_ADDR="198.51.100.0")
    assert sign_in(guessing) == 200
    assert not is_signed_in(guessing)
    other = User.objects.create_user("other@example.com", PASSWORD)
    assert sign_in(guessing, other.email) == 302
    # A stranger locks nobody out.
    assert sign_in(Client(REMOTE_ADDR="203.0.113.9")) == 302


def test_many_machines_guess_no_more_and_lock_no_known_browser_out(person: User) -> None:
    known = Client(REMOTE_ADDR="203.0.113.9")
    assert sign_in(known) == 302
    known.post("/logout/")
    guess(50, machines=50)
    unknown = Client(REMOTE_ADDR="203.0.113.10")
    assert sign_in(unknown) == 200
    assert not is_signed_in(unknown)
    assert sign_in(known) == 302
    assert is_signed_in(known)
    for _ in range(5):  # One who has taken that browser has no more guesses than another.
        known.post("/logout/")
        sign_in(known, password="wrong")
    assert sign_in(known) == 200


@pytest.mark.parametrize("path", ["/login/code/", "/password/reset/"])
def test_a_stranger_uses_up_no_mail_of_a_persons(with_mail: None, person: User, path: str) -> None:
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)

    def ask(machine: str, known: str = "") -> int:
        mail.outbox.clear()
        client = Client()
        client.cookies[known_browsers.COOKIE] = known
        answer = client.post(path, {"email": "Ana@example.com"}, REMOTE_ADDR=machine)
        assert len(mail.outbox) == (answer.status_code == 302)
        return answer.status_code

    hers = Client()
    assert sign_in(hers) == 302
    known = hers.cookies[known_browsers.COOKIE].value
    assert [ask("198.51.100.0") for _ in range(6)] == [302] * 5 + [429]
    assert ask("203.0.113.9") == 302, "not even where she was never seen"
    for number in range(14):
        assert ask(f"198.51.100.{1 + number}") == 302
    assert ask("203.0.113.10") == 429, "many machines have not many mails"
    assert [ask("203.0.113.9", known) for _ in range(6)] == [302] * 5 + [429]


def test_a_stranger_who_signs_up_with_an_address_keeps_its_link_from_nobody(
    with_mail: None,
) -> None:
    for _ in range(3):
        sign_up(Client(REMOTE_ADDR="198.51.100.0"))
    mail.outbox.clear()
    sign_up(Client(REMOTE_ADDR="203.0.113.9"))
    assert len(mail.outbox) == 1


def test_a_new_password_forgets_known_browsers_and_none_is_known_for_others(person: User) -> None:
    browser = Client()
    sign_in(browser)
    request = RequestFactory().get("/")
    request.COOKIES[known_browsers.COOKIE] = browser.cookies[known_browsers.COOKIE].value
    assert known_browsers.is_known(request, "ANA@example.com")
    other = User.objects.create_user("other@example.com", PASSWORD)
    assert not known_browsers.is_known(request, other.email)
    assert not known_browsers.is_known(request, "nobody@example.com")
    person.set_password("another-good-password")
    person.save()
    assert not known_browsers.is_known(request, person.email)
    request.COOKIES[known_browsers.COOKIE] += "x"
    assert not known_browsers.is_known(request, person.email)


def test_one_machine_takes_thirty_attempts_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this machine needs for them.
    clock = SimpleNamespace(time=lambda: 1.8e9, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(ratelimit, "time", clock)
    statuses = [sign_in(Client(), f"nobody-{n}@example.com", "x") for n in range(31)]
    assert statuses[:30] == [200] * 30
    assert statuses[30] == 429


def test_one_machine_makes_twenty_accounts_an_hour(without_mail: None) -> None:
    for n in range(20):
        sign_up(Client(), f"crowd-{n}@example.com")
    page = Client().post("/signup/", {"email": "last@example.com", "password1": PASSWORD})
    assert page.status_code == 429
    assert b"Wait a few minutes" in page.content
    assert User.objects.filter(email__startswith="crowd-").count() == 20
    assert not User.objects.filter(email="last@example.com").exists()


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


def totp_of(user: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


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


# --- invitations -------------------------------------------------------------------------------


def test_an_invitation_is_handed_over_where_there_is_no_mail(
    without_mail: None, owner: Client, shop: Shop
) -> None:
    owner.post("/organisation/invite", {"email": "New@example.com", "role": "billing"})
    link = re.search(r"/invitations/[\w:-]{30,}", owner.get("/organisation").content.decode())
    assert link
    path = link[0]
    newcomer = Client()
    page = newcomer.get(path).content.decode()
    assert "Acme" in page
    assert "/signup/?email=New%40example.com" in page
    sign_up(newcomer, next=path)
    newcomer.post(path)
    membership = shop.organisation.memberships.get(user__email="new@example.com")
    assert membership.role == Role.BILLING
    assert newcomer.get("/organisation").context["organisation"] == shop.organisation
    again = newcomer.post(path)
    assert again.status_code == 422
    assert b"already accepted" in again.content


def test_an_invitation_is_mailed_where_there_is_mail(
    with_mail: None, owner: Client, person: User
) -> None:
    owner.post("/organisation/invite", {"email": person.email, "role": "viewer"})
    (message,) = mail.outbox
    assert message.to == [person.email]
    assert link_in(message.body) not in owner.get("/organisation").content.decode()
    client = signed_in(person)
    assert client.post(link_in(message.body)).status_code == 302
    assert person.memberships.get().role == Role.VIEWER


def test_an_invitation_is_for_one_address(owner: Client, shop: Shop, person: User) -> None:
    asked = invitation_create(
        organisation=shop.organisation, email="b@example.com", role=Role.ADMIN, invited_by=None
    )
    client = signed_in(person)
    path = f"/invitations/{invitation_token(asked)}"
    assert b"signed in as ana@example.com" in client.get(path).content
    assert client.post(path).status_code == 422
    assert not person.memberships.exists()


def test_a_link_ends_by_expiry_by_a_newer_one_and_by_revoking(shop: Shop, person: User) -> None:
    client = signed_in(person)
    asked = invitation_create(
        organisation=shop.organisation, email=person.email, role=Role.ADMIN, invited_by=None
    )
    first = f"/invitations/{invitation_token(asked)}"
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert b"has expired" in client.post(first).content
    asked = invitation_resend(invitation=asked)
    assert client.get(first).status_code == 404
    second = f"/invitations/{invitation_token(asked)}"
    assert b"Join Acme" in client.get(second).content
    services.invitation_revoke(invitation=asked)
    assert b"was revoked" in client.post(second).content
    assert client.get(second[:-3] + "xyz").status_code == 404
    assert not person.memberships.exists()


def test_invitations_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "INVITATIONS_OPEN_MAX", 2)
    monkeypatch.setattr(services, "INVITATION_SENDS_MAX", 2)

    def ask(email: str) -> Invitation:
        return invitation_create(
            organisation=shop.organisation, email=email, role=Role.VIEWER, invited_by=None
        )

    first, _ = ask("a@example.com"), ask("b@example.com")
    for email, why in [
        ("c@example.com", "No more than 2"),
        ("A@example.com", "already invited"),
        (shop.owner.email, "already a member"),
    ]:
        with pytest.raises(ValidationError, match=why):
            ask(email)
    invitation_resend(invitation=first)
    with pytest.raises(ValidationError, match="sent 2 times"):
        invitation_resend(invitation=first)


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
