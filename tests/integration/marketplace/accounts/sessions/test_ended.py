"""Promise 15 for browsers: a session token ends with what it was given for, within two seconds.

A real router on the marketplace's own database.
"""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import member_remove, member_set
from marketplace.accounts.sessions.tasks import forget_sessions
from marketplace.routing.selectors import snapshot_build
from marketplace.routing.services import snapshot_publish
from router.domain.keys import verify_session
from tests.backend import get
from tests.integration.marketplace.accounts.visiting import PASSWORD, sign_in
from tests.integration.marketplace.shop import Shop
from tests.integration.router.routers import Router, running, until

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

ENDS_S = 2.0


def log_out(client: Client, member: Membership) -> None:
    client.post("/logout/")


def remove(client: Client, member: Membership) -> None:
    member_remove(membership=member)


def status(router: Router, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return get(f"{router.url}/v1/models", headers=headers, timeout=5).status_code


def lose_the_role(client: Client, member: Membership) -> None:
    member_set(organisation=member.organisation, user=member.user, role=Role.BILLING)


def change_the_password(client: Client, member: Membership) -> None:
    new = "much more secret than before"
    form = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert client.post("/password/change/", form).status_code == 302


def be_shut_out(client: Client, member: Membership) -> None:
    User.objects.get(pk=member.user_id).delete()


def be_deactivated(client: Client, member: Membership) -> None:
    member.user.is_active = False
    member.user.save()


def be_given_a_password(client: Client, member: Membership) -> None:
    """As `manage.py changepassword` and Django's admin do."""
    member.user.set_password("much more secret than before")
    member.user.save()


def log_out_from_elsewhere(client: Client, member: Membership) -> None:
    elsewhere = Client()
    assert sign_in(elsewhere, member.user.email) == 302
    assert elsewhere.post("/sessions/").status_code == 302


LEAVE = (
    *(log_out, log_out_from_elsewhere, remove, lose_the_role),
    *(change_the_password, be_given_a_password, be_shut_out, be_deactivated),
)


def test_15_a_session_token_ends_within_two_seconds_of_its_session_or_membership(
    committed_shop: Shop, tmp_path: Path
) -> None:
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    pepper = os.environ["WAYPOST_KEY_PEPPER"]
    snapshot_publish()
    with running("one", url, tmp_path, WAYPOST_KEY_PEPPER=pepper) as router:
        for leave in LEAVE:
            client, member, token = signed_in(committed_shop, f"{leave.__name__}@example.com")
            until(lambda token=token: status(router, token) == 200)
            leave(client, member)
            left = time.monotonic()
            until(lambda token=token: status(router, token) == 401)
            assert time.monotonic() - left <= ENDS_S, leave.__name__


def signed_in(shop: Shop, email: str) -> tuple[Client, Membership, str]:
    """A member's browser, and a session token of it."""
    user = User.objects.create_user(email, PASSWORD)
    member = member_set(organisation=shop.organisation, user=user, role=Role.DEVELOPER)
    client = Client()
    assert sign_in(client, email) == 302
    told = client.post("/api/v1/session-token", {}, content_type="application/json")
    assert told.status_code == 201, told.content
    return client, member, told.json()["token"]


@pytest.mark.django_db
def test_a_logout_ends_the_tokens_of_that_browser_alone(shop: Shop) -> None:
    user = User.objects.create_user("two@example.com")
    member_set(organisation=shop.organisation, user=user, role=Role.DEVELOPER)
    claims = []
    here, there, without = Client(), Client(), Client()
    for browser in (here, there, without):
        browser.force_login(user)
    for browser in (here, there):
        told = browser.post("/api/v1/session-token", {}, content_type="application/json").json()
        claims.append(verify_session(told["token"], settings.WAYPOST_KEY_PEPPER))
    without.post("/logout/")
    assert snapshot_build().ended_sessions == ()
    here.post("/logout/")
    (ended,) = snapshot_build().ended_sessions
    assert [ended.covers(claim) for claim in claims] == [True, False]


@pytest.mark.django_db
def test_ending_other_sessions_ends_the_tokens_that_they_have(shop: Shop) -> None:
    user = User.objects.create_user("two@example.com", PASSWORD)
    member_set(organisation=shop.organisation, user=user, role=Role.DEVELOPER)
    claims = []
    here, there, without = Client(), Client(), Client()
    for browser in (here, there, without):
        assert sign_in(browser, user.email) == 302
    for browser in (here, there):
        told = browser.post("/api/v1/session-token", {}, content_type="application/json").json()
        claims.append(verify_session(told["token"], settings.WAYPOST_KEY_PEPPER))
    here.post("/sessions/")
    (ended,) = snapshot_build().ended_sessions
    assert [ended.covers(claim) for claim in claims] == [False, True]


@pytest.mark.django_db
def test_a_password_that_only_gets_another_hash_ends_nothing(shop: Shop) -> None:
    hashers = [f"django.contrib.auth.hashers.{name}PasswordHasher" for name in ("PBKDF2", "MD5")]
    user = User.objects.create_user("two@example.com")
    user.password = make_password(PASSWORD, hasher="md5")
    user.save(update_fields=["password"])
    before = user.password
    with override_settings(PASSWORD_HASHERS=hashers):
        assert user.check_password(PASSWORD)
    assert user.password != before
    assert snapshot_build().ended_sessions == ()


@pytest.mark.django_db
def test_sessions_that_are_over_are_forgotten_with_their_addresses(shop: Shop) -> None:
    User.objects.create_user("two@example.com", PASSWORD)
    here, there = Client(), Client()
    for browser in (here, there):
        assert sign_in(browser, "two@example.com") == 302
    Session.objects.filter(pk=there.session.session_key).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )
    assert forget_sessions() == 1
    assert list(Session.objects.values_list("pk", flat=True)) == [here.session.session_key]
    assert UserSession.objects.get().session_key == here.session.session_key
    assert forget_sessions() == 0
