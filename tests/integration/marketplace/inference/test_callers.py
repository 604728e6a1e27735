"""Who may call ``/v1/``, whose organisation they see, and how they are refused."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.urls import path
from django.utils import timezone
from msgspec import structs
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.accounts.models import Membership, Organisation, Role, User
from marketplace.accounts.services import (
    api_key_create,
    api_key_revoke,
    member_remove,
    member_set,
    session_token_issue,
    sessions_end,
)
from marketplace.inference.callers import Caller
from marketplace.inference.errors import JobError
from marketplace.inference.tokens import CallerGone, caller_token
from marketplace.inference.views import JobsView
from router.domain.keys import SessionClaims, sign_session, verify_session
from tests.integration.marketplace.shop import Shop, signed_in

SESSION = "a-browsers-session"


class _Asked(serializers.Serializer[Any]):
    n = serializers.IntegerField(min_value=1)


class _Who(JobsView):
    """Tells the caller; a body with another ``n`` than a positive number is refused."""

    def get(self, request: Request) -> Response:
        caller = self.caller
        return Response([caller.organisation_id, caller.key_id, caller.user_id])

    def post(self, request: Request) -> Response:
        asked = _Asked(data=request.data)
        asked.is_valid(raise_exception=True)
        raise JobError("seven is taken", code="taken", param="n", status=409)


urlpatterns = [path("v1/who", _Who.as_view())]


@pytest.fixture(autouse=True)
def _served() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def organisation(shop: Shop, db: None) -> Organisation:
    return shop.organisation


def who(token: str, header: str = "authorization") -> Any:
    value = f"Bearer {token}" if header == "authorization" else token
    return Client().get("/v1/who", headers={header: value})


def session_of(user: User, organisation: Organisation) -> str:
    return session_token_issue(user=user, organisation=organisation, session_key=SESSION)[0]


def error(response: Any) -> tuple[int, str, str | None]:
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return response.status_code, found["code"], found["param"]


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_calls_for_its_organisation(organisation: Organisation, header: str) -> None:
    row, key = api_key_create(organisation=organisation, name="job")
    assert who(key, header).json() == [organisation.pk, row.pk, 0]
    row.refresh_from_db()
    assert row.last_used_at is not None


def test_a_page_calls_for_its_person(organisation: Organisation, shop: Shop) -> None:
    answer = who(session_of(shop.owner, organisation))
    assert answer.json() == [organisation.pk, 0, shop.owner.pk]
    assert answer.headers["cache-control"] == "no-store"


def test_a_sessions_cookie_alone_is_nobody(organisation: Organisation, shop: Shop) -> None:
    client = signed_in(shop.owner)
    answer = client.get("/v1/who")
    assert error(answer) == (401, "invalid_api_key", None)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["", "wp_live_x", "wp_session_x.y", "é"])
def test_what_is_no_credential_is_refused(db: None, token: str) -> None:
    assert error(who(token))[:2] == (401, "invalid_api_key")


def test_a_key_that_ended_or_lacks_the_scope_is_refused(organisation: Organisation) -> None:
    row, revoked = api_key_create(organisation=organisation, name="revoked")
    api_key_revoke(api_key=row)
    past = timezone.now() - timedelta(seconds=1)
    _, expired = api_key_create(organisation=organisation, name="late", expires_at=past)
    _, managing = api_key_create(organisation=organisation, name="m", scopes=["management"])
    assert error(who(revoked))[:2] == error(who(expired))[:2] == (401, "invalid_api_key")
    assert error(who(managing))[:2] == (403, "not_allowed")


def test_a_session_ends_with_its_browsers_session(organisation: Organisation, shop: Shop) -> None:
    token = session_of(shop.owner, organisation)
    sessions_end(user_id=shop.owner.pk, session_key="another")
    assert who(token).status_code == 200
    sessions_end(user_id=shop.owner.pk, session_key=SESSION)
    assert error(who(token))[0] == 401


def test_a_session_ends_with_the_membership_and_its_role(organisation: Organisation) -> None:
    user = User.objects.create_user("dev@example.com", "p")
    member = member_set(organisation=organisation, user=user, role=Role.DEVELOPER)
    token = session_of(user, organisation)
    assert who(token).status_code == 200
    member_set(organisation=organisation, user=user, role=Role.VIEWER)
    assert who(token).status_code == 401
    member_remove(membership=Membership.objects.get(pk=member.pk))
    assert who(session_of(user, organisation)).status_code == 401


def test_a_session_ends_in_time_and_a_jobs_token_is_no_session(
    organisation: Organisation, shop: Shop
) -> None:
    claims = verify_session(session_of(shop.owner, organisation), settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    for changed in ({"expires_at_s": int(time.time())}, {"key_id": 5}):
        token = sign_session(structs.replace(claims, **changed), settings.WAYPOST_KEY_PEPPER)
        assert error(who(token))[0] == 401


def test_errors_of_fields_and_of_views_are_in_openais_shape(organisation: Organisation) -> None:
    _, key = api_key_create(organisation=organisation, name="job")
    client = Client(headers={"authorization": f"Bearer {key}"})

    def post(body: object) -> Any:
        return client.post("/v1/who", body, content_type="application/json")

    assert error(post({"n": 0})) == (422, "invalid_request", "n")
    assert error(post("{")) == (422, "invalid_request", None)
    assert error(post({"n": 7})) == (409, "taken", "n")
    assert error(client.delete("/v1/who")) == (405, "method_not_allowed", None)


def claims_of(caller: Caller) -> SessionClaims:
    claims = verify_session(caller_token(caller), settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    return claims


def test_a_job_speaks_for_the_key_or_the_person_that_asked(
    organisation: Organisation, shop: Shop
) -> None:
    owner = shop.owner
    account = organisation.billing_account.pk
    of_key = claims_of(Caller(organisation.pk, account, key_id=5))
    assert (of_key.organisation_id, of_key.account_id) == (organisation.pk, account)
    assert (of_key.key_id, of_key.user_id) == (5, 0)
    of_person = claims_of(Caller(organisation.pk, account, user_id=owner.pk))
    assert (of_person.key_id, of_person.user_id) == (0, owner.pk)
    assert time.time() < of_person.expires_at_s <= time.time() + settings.SESSION_TOKEN_TTL_S


def test_no_job_speaks_for_somebody_who_left(organisation: Organisation) -> None:
    user = User.objects.create_user("gone@example.com", "p")
    caller = Caller(organisation.pk, organisation.billing_account.pk, user_id=user.pk)
    with pytest.raises(CallerGone):
        caller_token(caller)
    member_set(organisation=organisation, user=user, role=Role.DEVELOPER)
    assert caller_token(caller)
    user.is_active = False
    user.save()
    with pytest.raises(CallerGone):
        caller_token(caller)


@pytest.mark.parametrize("ids", [{}, {"key_id": 1, "user_id": 2}])
def test_a_caller_is_a_key_or_a_person(ids: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a key or a person"):
        Caller(1, 2, **ids)
