"""How often one may try passwords, codes and new accounts, and that no other locks one out."""

import time
from types import SimpleNamespace

import pytest
from allauth.account.models import EmailAddress
from allauth.core.internal import ratelimit
from django.core import mail
from django.test import Client, RequestFactory

from marketplace.accounts.models import User
from marketplace.accounts.sign_in import known_browsers
from tests.integration.marketplace.accounts.visiting import (
    PASSWORD,
    is_signed_in,
    sign_in,
    sign_up,
)

pytestmark = pytest.mark.django_db


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
