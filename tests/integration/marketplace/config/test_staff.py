"""Staff without a second factor get nowhere but to where it is set up."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import URLPattern, reverse

from marketplace.accounts.checks import staff_have_a_second_factor
from marketplace.accounts.models import User
from marketplace.config.urls import pages as urls_pages
from tests.integration.marketplace.shop import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _required(settings: Any) -> None:
    settings.WAYPOST_STAFF_SECOND_FACTOR = True


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("staff@example.com", "a long password", is_staff=True)


def page_paths() -> list[str]:
    """Every page without arguments, the admin among them."""
    patterns = [found for found in urls_pages.urlpatterns if isinstance(found, URLPattern)]
    plain = [f"/{found.pattern}" for found in patterns if "<" not in str(found.pattern)]
    return [*plain, "/settings", "/admin/", "/admin/accounts/user/"]


def test_every_page_leads_staff_without_one_to_set_it_up(staff: User) -> None:
    client = signed_in(staff)
    paths = page_paths()
    assert len(paths) > 40
    for path in paths:
        for answer in (client.get(path), client.post(path)):
            assert (answer.status_code, answer.get("Location")) == (302, reverse("mfa_index")), path


@pytest.mark.parametrize("path", ["/api/v1/looks", "/api/v1/session-token", "/v1/batches"])
def test_the_api_refuses_them(staff: User, path: str) -> None:
    answer = signed_in(staff).get(path)
    assert answer.status_code == 403
    assert b"second step" in answer.content


def test_they_are_told_why_and_may_set_it_up_and_sign_out(staff: User) -> None:
    client = signed_in(staff)
    shown = client.get("/support", follow=True)
    assert shown.redirect_chain == [(reverse("mfa_index"), 302)]
    assert "need a second step" in shown.content.decode()
    # allauth asks for the password first.
    begun = client.get(reverse("mfa_activate_totp"))
    assert begun["Location"].startswith(reverse("account_reauthenticate"))
    assert client.post("/logout/").status_code == 302
    assert "_auth_user_id" not in client.session


def test_a_person_who_signed_up_without_mail_can_set_one_up(staff: User) -> None:
    EmailAddress.objects.create(user=staff, email=staff.email, primary=True, verified=False)
    begun = signed_in(staff).get(reverse("mfa_activate_totp"))
    assert begun["Location"].startswith(reverse("account_reauthenticate"))


@pytest.mark.parametrize(
    ("kind", "opens"), [("totp", 200), ("webauthn", 200), ("recovery_codes", 302)]
)
def test_with_one_the_platform_is_open(staff: User, kind: str, opens: int) -> None:
    """Recovery codes alone are none."""
    Authenticator.objects.create(user=staff, type=kind, data={"name": "key"})
    assert signed_in(staff).get("/support").status_code == opens


def test_a_password_alone_signs_nobody_in_who_has_one(staff: User) -> None:
    Authenticator.objects.create(user=staff, type="totp", data={"secret": "A" * 32})
    client = Client()
    answer = client.post("/login/", {"login": staff.email, "password": "a long password"})
    assert answer["Location"] == reverse("mfa_authenticate")
    assert "_auth_user_id" not in client.session


def test_customers_need_none_and_it_can_be_turned_off(staff: User, settings: Any) -> None:
    customer = User.objects.create_user("customer@example.com")
    assert signed_in(customer).get("/settings").status_code == 200
    settings.WAYPOST_STAFF_SECOND_FACTOR = False
    assert signed_in(staff).get("/support").status_code == 200


def test_a_deployment_that_turns_it_off_is_warned(settings: Any) -> None:
    assert staff_have_a_second_factor() == []
    settings.WAYPOST_STAFF_SECOND_FACTOR = False
    assert [found.id for found in staff_have_a_second_factor()] == ["accounts.W001"]
