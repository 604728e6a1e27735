"""The management API: who sees what, who may do what, and how it says no."""

import uuid
from typing import Any

import pytest
from rest_framework.test import APIClient

from marketplace.accounts.models import ApiKey, Membership, Organisation, Role, Scope, User
from marketplace.accounts.services import api_key_create, member_set, organisation_create
from marketplace.billing.budgets.services import budget_set
from router.domain.keys import key_is_wellformed, verify_session
from tests.integration.marketplace.ledger import credit_grant, record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

PROBLEM = "application/problem+json"


def client_of(user: User | None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def member(organisation: Organisation, role: Role) -> User:
    user = User.objects.create_user(f"{role}@{organisation.slug}.example")
    member_set(organisation=organisation, user=user, role=role)
    return user


@pytest.fixture
def stranger(shop: Shop) -> User:
    """The owner of another organisation, with money, a key, a budget and its own call."""
    user = User.objects.create_user("stranger@example.com")
    other = organisation_create(name="Other", slug="other", owner=user)
    credit_grant(organisation=other, amount_nano=1_000)
    api_key_create(organisation=other, name="theirs")
    for organisation in (shop.organisation, other):
        budget_set(organisation=organisation, limit_nano=1_000)
        settle(
            record(
                account_id=organisation.billing_account.pk,
                organisation_id=organisation.pk,
                provider_account_id=shop.provider_account.pk,
                charge_nano=10,
            )
        )
    return user


@pytest.mark.parametrize(
    "path",
    ["organisations", "members", "keys", "budgets", "usage", "ledger/accounts", "ledger/transfers"],
)
def test_an_organisation_sees_its_own_and_nothing_else(
    shop: Shop, stranger: User, path: str
) -> None:
    api_key_create(organisation=shop.organisation, name="ours")
    _, key = api_key_create(
        organisation=shop.organisation, name="manage", scopes=[Scope.MANAGEMENT]
    )
    by_key = APIClient()
    by_key.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")

    def identities(client: APIClient) -> set[str]:
        rows = client.get(f"/api/v1/{path}").json()["results"]
        return {str(row.get("id", row.get("request_id"))) for row in rows}

    ours, theirs = identities(client_of(shop.owner)), identities(client_of(stranger))
    assert ours
    assert theirs
    assert not ours & theirs
    assert identities(by_key) == ours
    assert client_of(None).get(f"/api/v1/{path}").status_code == 401
    for identity in theirs:
        shown = Organisation.objects.get(pk=identity).slug if path == "organisations" else identity
        answer = client_of(shop.owner).get(f"/api/v1/{path}/{shown}")
        assert answer.status_code == 404
        assert answer["content-type"] == PROBLEM


def test_a_stranger_changes_nothing_of_ours(shop: Shop, stranger: User) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="ours")
    client = client_of(stranger)
    ours = Membership.objects.get(user=shop.owner)
    assert client.delete(f"/api/v1/keys/{row.pk}").status_code == 404
    assert client.delete(f"/api/v1/members/{ours.pk}").status_code == 404
    for path, body in [
        ("keys", {"organisation": "acme", "name": "x"}),
        ("members", {"organisation": "acme", "email": "stranger@example.com", "role": "owner"}),
        ("session-token", {"organisation": "acme"}),
    ]:
        assert client.post(f"/api/v1/{path}", body).status_code == 404
    assert client.get("/api/v1/ledger/accounts/balance?organisation=acme").status_code == 404
    row.refresh_from_db()
    assert row.status == "active"


@pytest.mark.parametrize(
    "path", ["models", "providers", "pools", "workers", "deployments", "offers", "policies"]
)
def test_the_catalog_is_public_to_read(shop: Shop, path: str) -> None:
    answer = client_of(None).get(f"/api/v1/{path}")
    assert answer.status_code == 200
    assert "127.0.0.1" not in answer.content.decode()


def test_a_key_is_changed_by_those_who_may(shop: Shop, stranger: User) -> None:
    row, _ = api_key_create(organisation=shop.organisation, name="ours")
    path = f"/api/v1/keys/{row.pk}"
    change = {"name": "new", "requests_per_minute": 60, "calls_at_once": None}
    assert client_of(stranger).patch(path, change).status_code == 404
    changed = client_of(shop.owner).patch(path, change)
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["requests_per_minute"]) == ("new", 60)
    refused = client_of(shop.owner).patch(path, {"tokens_per_minute": 0})
    assert refused.status_code == 400
    member_set(organisation=shop.organisation, user=stranger, role=Role.VIEWER)
    assert client_of(stranger).patch(path, change).status_code == 403


def test_the_limits_of_an_organisation_are_not_its_own_to_change(shop: Shop) -> None:
    client = client_of(shop.owner)
    made = client.post(
        "/api/v1/organisations", {"name": "Big", "slug": "big", "calls_at_once": 10_000}
    )
    assert made.status_code == 201
    assert made.json()["calls_at_once"] is None


def test_the_platforms_own_slugs_are_not_for_others(shop: Shop) -> None:
    body = {"name": "Mine", "slug": "waypost-benchmarks"}
    refused = client_of(shop.owner).post("/api/v1/organisations", body)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "slug"


def test_a_model_is_found_by_its_public_name(shop: Shop) -> None:
    assert client_of(None).get("/api/v1/models/author/slug").json()["display_name"] == "Slug"
    assert client_of(None).get("/api/v1/models/author/none").status_code == 404


def test_a_key_is_shown_once_and_stored_as_a_digest(shop: Shop) -> None:
    client = client_of(shop.owner)
    made = client.post("/api/v1/keys", {"organisation": "acme", "name": "ci"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key_is_wellformed(key)
    listed = client.get("/api/v1/keys").json()["results"]
    assert listed[0]["masked"].endswith(key[-4:])
    assert key not in str(listed)
    assert key not in str(ApiKey.objects.values())
    assert client.delete(f"/api/v1/keys/{made.json()['id']}").status_code == 204
    assert client.get("/api/v1/keys?organisation=acme").json()["results"][0]["status"] == "revoked"


@pytest.mark.parametrize(
    ("role", "key", "member_change"),
    [
        (Role.OWNER, 201, 201),
        (Role.ADMIN, 201, 201),
        (Role.DEVELOPER, 201, 403),
        (Role.BILLING, 403, 403),
        (Role.VIEWER, 403, 403),
    ],
)
def test_roles_decide_who_may(shop: Shop, role: Role, key: int, member_change: int) -> None:
    User.objects.create_user("new@example.com")
    client = client_of(member(shop.organisation, role))
    body = {"organisation": "acme", "name": "k"}
    assert client.post("/api/v1/keys", body).status_code == key
    body = {"organisation": "acme", "email": "new@example.com", "role": "viewer"}
    assert client.post("/api/v1/members", body).status_code == member_change


def test_nobody_joins_unasked_and_nobody_is_told_who_has_signed_up(shop: Shop) -> None:
    User.objects.create_user("known@example.com")
    reports = []
    for email in ("known@example.com", "unknown@example.com"):
        body = {"organisation": "acme", "email": email, "role": "viewer"}
        answer = client_of(shop.owner).post("/api/v1/members", body)
        assert answer.status_code == 201
        shown = answer.json()
        assert shown.pop("email") == email
        reports.append({name: shown[name] for name in ("organisation", "role", "status")})
        assert set(shown) == {"id", "created_at", "expires_at", *reports[-1]}
    assert reports[0] == reports[1] == {"organisation": "acme", "role": "viewer", "status": "open"}
    assert shop.organisation.memberships.count() == 1
    assert shop.organisation.invitations.count() == 2


def test_an_admin_cannot_take_the_organisation(shop: Shop) -> None:
    admin = member(shop.organisation, Role.ADMIN)
    client = client_of(admin)
    own, owner = Membership.objects.get(user=admin), Membership.objects.get(user=shop.owner)
    assert client.patch(f"/api/v1/members/{own.pk}", {"role": "owner"}).status_code == 403
    assert client.patch(f"/api/v1/members/{owner.pk}", {"role": "viewer"}).status_code == 403
    assert client.delete(f"/api/v1/members/{owner.pk}").status_code == 403


def test_the_last_owner_stays(shop: Shop) -> None:
    owner = Membership.objects.get(user=shop.owner)
    client = client_of(shop.owner)
    refused = client.delete(f"/api/v1/members/{owner.pk}")
    assert refused.status_code == 400
    assert "at least one owner" in refused.json()["detail"]
    assert client.patch(f"/api/v1/members/{owner.pk}", {"role": "viewer"}).status_code == 400


def test_a_key_cannot_make_a_management_key(shop: Shop) -> None:
    _, key = api_key_create(organisation=shop.organisation, name="m", scopes=[Scope.MANAGEMENT])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    body: dict[str, Any] = {"organisation": "acme", "name": "x"}
    assert client.post("/api/v1/keys", body).status_code == 201
    body["scopes"] = ["management"]
    assert client.post("/api/v1/keys", body).status_code == 403


def test_an_unfit_key_is_refused(shop: Shop) -> None:
    _, inference_key = api_key_create(organisation=shop.organisation, name="i")
    for key in (inference_key, inference_key[:-1] + "!", "nonsense", ""):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        answer = client.get("/api/v1/usage")
        assert answer.status_code == 401
        assert answer["www-authenticate"] == "Bearer"
        assert answer.json()["title"] == "Unauthorized"


def test_a_session_token_speaks_for_the_signed_in_person(shop: Shop, settings: Any) -> None:
    answer = client_of(shop.owner).post("/api/v1/session-token")
    assert answer.status_code == 201
    assert answer["cache-control"] == "no-store"
    assert answer.json()["router_url"] == settings.WAYPOST_ROUTER_URL
    claims = verify_session(answer.json()["token"], settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    assert (claims.account_id, claims.user_id) == (shop.customer_account.pk, shop.owner.pk)
    viewer = member(shop.organisation, Role.VIEWER)
    assert client_of(viewer).post("/api/v1/session-token").status_code == 403


def test_a_member_of_two_says_which_one_pays(shop: Shop) -> None:
    organisation_create(name="Second", slug="second", owner=shop.owner)
    client = client_of(shop.owner)
    refused = client.post("/api/v1/session-token")
    assert refused.json()["errors"][0]["field"] == "organisation"
    assert client.post("/api/v1/session-token", {"organisation": "second"}).status_code == 201


def test_changes_by_browser_need_the_csrf_token(shop: Shop) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(shop.owner)
    answer = client.post("/api/v1/keys", {"organisation": "acme", "name": "k"})
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]


def test_staff_publish_prices_and_policies_and_drain_workers(shop: Shop) -> None:
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    price = {"deployment": shop.deployment.pk, "prompt_nano_per_million": 5}
    policy = {"model": "author/slug", "kind": "round_robin"}
    for user, created, changed in ((staff, 201, 200), (shop.owner, 403, 403)):
        client = client_of(user)
        assert client.post("/api/v1/offers", price).status_code == created
        assert client.post("/api/v1/policies", policy).status_code == created
        last = {"draining": True, "confirmed": True}
        drained = client.patch(f"/api/v1/workers/{shop.worker.pk}", last)
        assert drained.status_code == changed
    assert client_of(staff).patch("/api/v1/offers/1", {}).status_code == 405


@pytest.mark.parametrize("name", ["kv_events_port", "kv_replay_port"])
def test_staff_say_where_an_engine_publishes_what_is_in_its_cache(shop: Shop, name: str) -> None:
    client = client_of(User.objects.create_user("staff@example.com", is_staff=True))
    path = f"/api/v1/workers/{shop.worker.pk}"
    for port, answered in ((5557, 200), (0, 400), (65_536, 400), (None, 200)):
        changed = client.patch(path, {name: port}, format="json")
        assert changed.status_code == answered
        assert answered == 400 or changed.json()[name] == port
    assert name not in client_of(shop.owner).get(path).json()  # It is the platform's own business.


def test_the_balance_is_in_nano_dollars(shop: Shop) -> None:
    answer = client_of(shop.owner).get("/api/v1/ledger/accounts/balance?organisation=acme").json()
    assert answer["available_nano"] == 10 * 10**9
    assert answer["currency"] == "USD"


def test_usage_is_paged_by_cursor_and_filtered(shop: Shop) -> None:
    for minute in range(7):
        settle(
            record(
                organisation_id=shop.organisation.pk,
                created_at_ms=1_700_000_000_000 + minute * 60_000,
                model="author/slug" if minute % 2 else "author/other",
            )
        )
    client = client_of(shop.owner)
    seen, url = [], "/api/v1/usage?page_size=3"
    while url:
        page = client.get(url).json()
        seen += [row["request_id"] for row in page["results"]]
        url = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert len(client.get("/api/v1/usage?model=author/slug").json()["results"]) == 3
    assert client.get("/api/v1/usage?organisation=other").json()["results"] == []
    since = "/api/v1/usage?created_after=2023-11-14T22:18:00Z"
    assert len(client.get(since).json()["results"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("get", "/api/v1/nothing", None, 404),
        ("get", f"/api/v1/usage/{uuid.UUID(int=0)}", None, 404),
        ("post", "/api/v1/keys", {}, 400),
        ("post", "/api/v1/keys", {"organisation": "acme", "name": "k", "scopes": ["root"]}, 400),
        ("put", "/api/v1/keys", {}, 405),
    ],
)
def test_errors_are_problem_documents(
    shop: Shop, method: str, path: str, body: Any, status: int
) -> None:
    answer = getattr(client_of(shop.owner), method)(path, body)
    assert answer["content-type"] == PROBLEM
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["instance"]) == (status, status, path)
    assert problem["detail"]


def test_malformed_json_is_a_problem_document(shop: Shop) -> None:
    answer = client_of(shop.owner).post("/api/v1/keys", "{", content_type="application/json")
    assert answer.status_code == 400
    assert "JSON" in answer.json()["detail"]
