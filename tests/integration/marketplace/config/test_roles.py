"""Roles hold alike on pages and in the API: every write of what an organisation has × every role.

What is expected follows from `GRANTS`; the lists of writes are held complete against the URLs.
"""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern

from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.models import Invitation, Role, Scope, User
from marketplace.accounts.permissions import GRANTS, KEY_ROLE
from marketplace.accounts.services import api_key_create, member_set, organisation_create
from marketplace.billing.budgets.services import budget_set
from marketplace.config.urls import api as urls_api
from marketplace.config.urls import pages as urls_pages
from marketplace.presets.services import preset_save
from tests.integration.marketplace.config.writes import API, PAGES, Furnished, Write
from tests.integration.marketplace.shop import open_shop

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def furnished(kept_database: None) -> Furnished:
    shop = open_shop()
    organisation = shop.organisation
    key, _ = api_key_create(organisation=organisation, name="plain")
    management, secret = api_key_create(
        organisation=organisation, name="manages", scopes=[Scope.MANAGEMENT]
    )

    def joined(email: str, role: Role) -> int:
        user = User.objects.create_user(email)
        return member_set(organisation=organisation, user=user, role=role).pk

    def asked(email: str, role: Role) -> Invitation:
        return invitation_create(organisation=organisation, email=email, role=role, invited_by=None)

    User.objects.create_user("outsider@example.com")
    return Furnished(
        shop,
        key,
        management,
        secret,
        joined("member@example.com", Role.DEVELOPER),
        joined("second@example.com", Role.OWNER),
        asked("asked@example.com", Role.VIEWER),
        asked("owner-to-be@example.com", Role.OWNER),
        budget_set(organisation=organisation, limit_nano=5).pk,
        preset_save(organisation=organisation, name="brief", system="Be brief.")[0],
    )


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture(scope="module")
def actors(furnished: Furnished) -> dict[Role, Client]:
    """One in each role, signed in."""
    users = {role: User.objects.create_user(f"{role}-actor@example.com") for role in Role}
    for role, user in users.items():
        member_set(organisation=furnished.shop.organisation, user=user, role=role)
    return {role: signed_in(user) for role, user in users.items()}


@pytest.fixture(scope="module")
def stranger(furnished: Furnished) -> User:
    """Who has their own organisation."""
    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return user


@pytest.fixture(scope="module")
def strange(stranger: User) -> Client:
    return signed_in(stranger)


def status_of(write: Write, furnished: Furnished, client: Client, **headers: str) -> int:
    path = write.path if isinstance(write.path, str) else write.path(furnished)
    send = getattr(client, write.method)
    if path.startswith("/api/"):
        answer = send(path, write.body, content_type="application/json", headers=headers)
    else:
        answer = send(path, write.body)
    return int(answer.status_code)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("write", [*PAGES, *API], ids=str)
def test_a_write_is_refused_exactly_to_whom_it_is_not_granted(
    furnished: Furnished, actors: dict[Role, Client], write: Write, role: Role
) -> None:
    status = status_of(write, furnished, actors[role])
    if role in GRANTS[write.permission]:
        # Past the door: done, or refused for what is asked and not for who asks.
        nothing_to_forget = {404} if write.name == "forget-card" else set()
        assert status not in {401, 403, 404, 500} - nothing_to_forget, status
    else:
        assert status == 403


@pytest.mark.parametrize("write", API, ids=str)
def test_a_management_key_may_what_its_role_may(furnished: Furnished, write: Write) -> None:
    headers = {"Authorization": f"Bearer {furnished.management_secret}"}
    status = status_of(write, furnished, Client(), **headers)
    if KEY_ROLE in GRANTS[write.permission]:
        assert status < 300
    else:
        assert status == 403


@pytest.mark.parametrize("write", [*PAGES, *API], ids=str)
def test_a_stranger_is_told_of_nothing(
    furnished: Furnished, stranger: User, strange: Client, write: Write
) -> None:
    status = status_of(write, furnished, strange)
    if isinstance(write.path, str) and not write.path.startswith("/api/"):
        # Pages act for one's own organisation: nothing of the other's is named.
        assert status < 500
    else:
        assert status == 404
    assert furnished.shop.organisation.memberships.filter(user=stranger).count() == 0
    assert stranger.memberships.get().organisation.memberships.count() == 1


def test_no_write_of_a_page_is_missing_above() -> None:
    parts = ("organisation/", "keys/", "presets/", "budgets/", "billing/")
    # Reading, switching between one's own, and numbers of statements.
    not_writes = {"organisation-switch", "payment", "statement-csv", "statement-pdf", "focus-csv"}
    there = {
        pattern.name
        for pattern in urls_pages.urlpatterns
        if isinstance(pattern, URLPattern) and str(pattern.pattern).startswith(parts)
    }
    assert there - not_writes == {write.name for write in PAGES}


def test_no_write_of_the_api_is_missing_above() -> None:
    ours = {"organisations", "members", "invitations", "keys", "budgets", "payments"}
    ours |= {"auto-recharge", "credit-requests", "presets"}
    # Anybody founds an organisation; refunds are the staff's.
    elsewhere = {("post", "organisations"), ("post", "payments/refund")}
    there = set()
    for prefix, viewset, _ in urls_api.router.registry:
        if prefix not in ours:
            continue
        for method, verb in [
            ("post", "create"),
            ("put", "update"),
            ("patch", "partial_update"),
            ("delete", "destroy"),
        ]:
            if hasattr(viewset, verb):
                there.add((method, prefix))
        for extra in viewset.get_extra_actions():
            there |= {
                (method, f"{prefix}/{extra.url_path}")
                for method in extra.mapping
                if method != "get"
            }
    assert there - elsewhere == {(write.method, write.name) for write in API}
