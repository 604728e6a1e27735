"""Roles hold alike on pages and in the API: every write of what an organisation has × every role.

What is expected follows from `GRANTS`; the lists of writes are held complete against the URLs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.test import Client
from django.urls import URLPattern

from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.models import ApiKey, Invitation, Role, Scope, User
from marketplace.accounts.permissions import GRANTS, KEY_ROLE, Permission
from marketplace.accounts.services import api_key_create, member_set, organisation_create
from marketplace.billing.budgets.services import budget_set
from marketplace.config.urls import api as urls_api
from marketplace.config.urls import pages as urls_pages
from marketplace.presets.models import Preset
from marketplace.presets.services import preset_save
from tests.integration.marketplace.shop import Shop, open_shop

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Furnished:
    """An organisation with one of each thing that can be changed."""

    shop: Shop
    key: ApiKey
    management_key: ApiKey
    management_secret: str
    member_id: int
    owner_id: int
    invitation: Invitation
    owners_invitation: Invitation
    budget_id: int
    preset: Preset


Value = Callable[[Furnished], object]


@dataclass(frozen=True)
class Write:
    """One write: where, with what, and which permission it takes."""

    method: str
    path: str | Callable[[Furnished], str]
    permission: Permission
    body: dict[str, object] | None = None
    name: str = ""
    """The page's URL name, or the API's resource."""

    def __str__(self) -> str:
        return f"{self.method}-{self.name}-{self.permission}"


P = Permission
PAGES = [
    Write("post", "/organisation/rename", P.ORGANISATION, {"name": "New"}, "organisation-rename"),
    Write("post", "/organisation/responses", P.ORGANISATION, {}, "organisation-responses"),
    Write("post", "/organisation/apps", P.ORGANISATION, {}, "organisation-apps"),
    Write("post", "/organisation/masks", P.ORGANISATION, {}, "organisation-masks"),
    Write("post", "/organisation/guard", P.ORGANISATION, {}, "organisation-guard"),
    Write(
        "post",
        "/organisation/invite",
        P.MEMBERS,
        {"email": "x@example.com", "role": "viewer"},
        "organisation-invite",
    ),
    Write(
        "post",
        "/organisation/invite",
        P.OWNERS,
        {"email": "x@example.com", "role": "owner"},
        "organisation-invite",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/role",
        P.MEMBERS,
        {"role": "billing"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/role",
        P.OWNERS,
        {"role": "owner"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.owner_id}/role",
        P.OWNERS,
        {"role": "viewer"},
        "member-role",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.member_id}/remove",
        P.MEMBERS,
        {},
        "member-remove",
    ),
    Write(
        "post",
        lambda f: f"/organisation/members/{f.owner_id}/remove",
        P.OWNERS,
        {},
        "member-remove",
    ),
    *(
        Write(
            "post",
            lambda f, verb=verb: f"/organisation/invitations/{f.invitation.pk}/{verb}",
            P.MEMBERS,
            {},
            f"invitation-{verb}",
        )
        for verb in ("resend", "revoke")
    ),
    Write(
        "post",
        lambda f: f"/organisation/invitations/{f.owners_invitation.pk}/resend",
        P.OWNERS,
        {},
        "invitation-resend",
    ),
    Write("post", "/keys/create", P.KEYS, {"name": "new"}, "key-create"),
    Write("post", lambda f: f"/keys/{f.key.pk}", P.KEYS, {"name": "n"}, "key"),
    Write(
        "post", lambda f: f"/keys/{f.management_key.pk}", P.MANAGEMENT_KEYS, {"name": "n"}, "key"
    ),
    Write("post", lambda f: f"/keys/{f.key.pk}/revoke", P.KEYS, {}, "key-revoke"),
    Write(
        "post", lambda f: f"/keys/{f.key.pk}/rotate", P.KEYS, {"overlap_hours": "1"}, "key-rotate"
    ),
    Write(
        "post",
        lambda f: f"/keys/{f.management_key.pk}/rotate",
        P.MANAGEMENT_KEYS,
        {"overlap_hours": "1"},
        "key-rotate",
    ),
    Write("post", "/presets/new", P.KEYS, {"name": "new"}, "preset-new"),
    Write("post", lambda f: f"/presets/{f.preset.name}", P.KEYS, {"model": "x"}, "preset"),
    Write("post", lambda f: f"/presets/{f.preset.name}/retire", P.KEYS, {}, "preset-retire"),
    Write("post", "/budgets/organisation", P.MONEY, {"budget_usd": "5"}, "organisation-budget"),
    Write(
        "post",
        lambda f: f"/budgets/members/{f.shop.owner.pk}",
        P.MONEY,
        {"budget_usd": "5"},
        "member-budget",
    ),
    Write("post", "/billing/topup", P.MONEY, {"amount_usd": "-1"}, "topup"),
    Write("post", "/billing/credit-request", P.MONEY, {"amount": "x"}, "credit-request"),
    Write("post", "/billing/auto-recharge", P.MONEY, {}, "auto-recharge"),
    Write("post", "/billing/forget-card", P.MONEY, {}, "forget-card"),
]
API = [
    Write("patch", "/api/v1/organisations/acme", P.ORGANISATION, {"name": "New"}, "organisations"),
    Write(
        "post",
        "/api/v1/members",
        P.MEMBERS,
        {"organisation": "acme", "email": "outsider@example.com", "role": "viewer"},
        "members",
    ),
    Write(
        "post",
        "/api/v1/members",
        P.OWNERS,
        {"organisation": "acme", "email": "outsider@example.com", "role": "owner"},
        "members",
    ),
    Write(
        "patch",
        lambda f: f"/api/v1/members/{f.member_id}",
        P.MEMBERS,
        {"role": "billing"},
        "members",
    ),
    Write(
        "patch", lambda f: f"/api/v1/members/{f.owner_id}", P.OWNERS, {"role": "viewer"}, "members"
    ),
    Write("delete", lambda f: f"/api/v1/members/{f.member_id}", P.MEMBERS, None, "members"),
    Write("delete", lambda f: f"/api/v1/members/{f.owner_id}", P.OWNERS, None, "members"),
    Write(
        "post",
        "/api/v1/invitations",
        P.MEMBERS,
        {"organisation": "acme", "email": "x@example.com"},
        "invitations",
    ),
    Write(
        "post",
        "/api/v1/invitations",
        P.OWNERS,
        {"organisation": "acme", "email": "x@example.com", "role": "owner"},
        "invitations",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/invitations/{f.invitation.pk}/resend",
        P.MEMBERS,
        {},
        "invitations/resend",
    ),
    Write(
        "delete", lambda f: f"/api/v1/invitations/{f.invitation.pk}", P.MEMBERS, None, "invitations"
    ),
    Write(
        "delete",
        lambda f: f"/api/v1/invitations/{f.owners_invitation.pk}",
        P.OWNERS,
        None,
        "invitations",
    ),
    Write("post", "/api/v1/keys", P.KEYS, {"organisation": "acme", "name": "n"}, "keys"),
    Write(
        "post",
        "/api/v1/keys",
        P.MANAGEMENT_KEYS,
        {"organisation": "acme", "name": "n", "scopes": ["management"]},
        "keys",
    ),
    Write("patch", lambda f: f"/api/v1/keys/{f.key.pk}", P.KEYS, {"name": "n"}, "keys"),
    Write(
        "patch",
        lambda f: f"/api/v1/keys/{f.management_key.pk}",
        P.MANAGEMENT_KEYS,
        {"name": "n"},
        "keys",
    ),
    Write("delete", lambda f: f"/api/v1/keys/{f.key.pk}", P.KEYS, None, "keys"),
    Write(
        "delete",
        lambda f: f"/api/v1/keys/{f.management_key.pk}",
        P.MANAGEMENT_KEYS,
        None,
        "keys",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/keys/{f.key.pk}/rotate",
        P.KEYS,
        {"overlap_hours": 1},
        "keys/rotate",
    ),
    Write(
        "post",
        lambda f: f"/api/v1/keys/{f.management_key.pk}/rotate",
        P.MANAGEMENT_KEYS,
        {"overlap_hours": 1},
        "keys/rotate",
    ),
    Write(
        "post",
        "/api/v1/presets",
        P.KEYS,
        {"organisation": "acme", "name": "n", "system": "Be brief."},
        "presets",
    ),
    Write("delete", lambda f: f"/api/v1/presets/{f.preset.pk}", P.KEYS, None, "presets"),
    Write(
        "post",
        "/api/v1/budgets",
        P.MONEY,
        {"organisation": "acme", "limit_nano": 5, "window": "month"},
        "budgets",
    ),
    Write(
        "patch", lambda f: f"/api/v1/budgets/{f.budget_id}", P.MONEY, {"limit_nano": 6}, "budgets"
    ),
    Write("delete", lambda f: f"/api/v1/budgets/{f.budget_id}", P.MONEY, None, "budgets"),
    Write(
        "post",
        "/api/v1/payments",
        P.MONEY,
        {"organisation": "acme", "amount_cents": 500},
        "payments",
    ),
    Write(
        "post",
        "/api/v1/auto-recharge",
        P.MONEY,
        {
            "organisation": "acme",
            "enabled": False,
            "threshold_cents": 500,
            "amount_cents": 1000,
            "cap_cents": 5000,
        },
        "auto-recharge",
    ),
    Write(
        "post",
        "/api/v1/credit-requests",
        P.MONEY,
        {"organisation": "acme", "amount_cents": 500, "reason": "a look"},
        "credit-requests",
    ),
]


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
