"""Keys, in pages and API alike: scopes, allowed models, expiry, rotation, last use."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from marketplace.accounts import services
from marketplace.accounts.models import ApiKey, Membership, Role, User
from marketplace.accounts.services import api_key_create, api_key_revoke, organisation_create
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.models import Budget, Window
from marketplace.keys import pages
from marketplace.keys.forms import MINUTES
from marketplace.keys.rotation import OVERLAP_MAX, api_key_rotate
from marketplace.keys.rules import MODELS_ALLOWED_MAX, models_allowed_check
from marketplace.routing.selectors import snapshot_build
from marketplace.usage.services import keys_used
from router.domain.catalog import LimitRule, RateLimits
from tests.integration.marketplace.ledger import USD, record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

HOUR = timedelta(hours=1)


def member(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


def made_key(shop: Shop, **values: object) -> ApiKey:
    return api_key_create(organisation=shop.organisation, name="mine", **values)[0]  # type: ignore[arg-type]


def form(**values: object) -> dict[str, object]:
    return {"name": "mine", "scopes": ["inference"], **values}


def test_a_key_is_made_with_models_and_an_expiry(shop: Shop) -> None:
    client = signed_in(shop.owner)
    until = (timezone.now() + HOUR).strftime(MINUTES)
    made = client.post("/keys/create", form(models_allowed="author/slug", expires_at=until))
    assert made.status_code == 302
    row = shop.organisation.api_keys.get()
    assert row.models_allowed == ["author/slug"]
    assert row.expires_at is not None
    assert row.expires_at.strftime(MINUTES) == until
    page = client.get("/keys").content.decode()
    assert "author/slug" in page
    assert f"until {row.expires_at:%Y-%m-%d %H:%M} UTC" in page


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"models_allowed": "author/gone"}, "There is no model author/gone"),
        ({"models_allowed": f"~acme/{'x' * 120}"}, "has at most 120 characters"),
        ({"expires_at": "2001-01-01T00:00"}, "This time has passed"),
        ({"scopes": ["root"]}, "not one of the available choices"),
    ],
)
def test_what_is_wrong_with_a_new_key_is_said(
    shop: Shop, values: dict[str, object], said: str
) -> None:
    answer = signed_in(shop.owner).post("/keys/create", form(**values))
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not shop.organisation.api_keys.exists()


def test_an_organisation_has_so_many_keys_and_no_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "KEYS_MAX", 1)
    row = made_key(shop)
    client = signed_in(shop.owner)
    full = "There are 1 keys already"
    for path, sent in (
        ("/keys/create", form()),
        (f"/keys/{row.pk}/rotate", {"overlap_hours": "1"}),
    ):
        answer = client.post(path, sent)
        assert answer.status_code == 422
        assert full in answer.content.decode()
    assert full in client.post("/start/key", follow=True).content.decode()
    body = {"organisation": "acme", "name": "k"}
    assert client.post("/api/v1/keys", body, "application/json").status_code == 400
    # What leaked is replaced all the same, and what is revoked makes room.
    assert client.post(f"/keys/{row.pk}/rotate", {"overlap_hours": "0"}).status_code == 302
    assert [key.status for key in shop.organisation.api_keys.all()] == ["active", "revoked"]


def test_keys_are_paged_and_a_link_to_one_finds_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ROWS_PER_PAGE", 2)
    rows = [made_key(shop) for _ in range(5)]
    client = signed_in(shop.owner)

    def shown(query: str = "") -> list[int]:
        return [row.key.pk for row in client.get(f"/keys{query}").context["rows"]]

    assert shown() == [rows[4].pk, rows[3].pk]
    assert shown(f"?key={rows[2].pk}") == [rows[2].pk, rows[1].pk]
    assert shown(f"?key={rows[2].pk}&page=3") == [rows[0].pk]
    for wrong in ("?key=x", f"?key={'9' * 40}", "?key=²", "?page=x"):
        assert shown(wrong) == shown()


def test_the_api_refuses_the_same(shop: Shop) -> None:
    client = signed_in(shop.owner)
    body = {"organisation": "acme", "name": "k"}
    for wrong in ({"models_allowed": ["author/gone"]}, {"expires_at": "2001-01-01T00:00:00Z"}):
        answer = client.post("/api/v1/keys", {**body, **wrong}, content_type="application/json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] in wrong


def test_a_model_that_is_gone_stays_allowed_until_it_is_taken_away(shop: Shop) -> None:
    row = made_key(shop, models_allowed=["author/gone"])
    client = signed_in(shop.owner)
    kept = form(models_allowed="author/gone, author/slug")
    assert client.post(f"/keys/{row.pk}", kept).status_code == 302
    row.refresh_from_db()
    assert row.models_allowed == ["author/gone", "author/slug"]
    with pytest.raises(ValidationError):
        models_allowed_check([f"a/{i}" for i in range(MODELS_ALLOWED_MAX + 1)])


def test_saving_a_key_keeps_its_expiry_to_the_second(shop: Shop) -> None:
    until = timezone.now() + HOUR
    row = made_key(shop, expires_at=until)
    page = signed_in(shop.owner).get(f"/keys/{row.pk}").content.decode()
    assert f'value="{until.strftime(MINUTES)}"' in page
    saved = form(expires_at=until.strftime(MINUTES))
    assert signed_in(shop.owner).post(f"/keys/{row.pk}", saved).status_code == 302
    row.refresh_from_db()
    assert row.expires_at == until


@pytest.mark.parametrize(("role", "status"), [(Role.ADMIN, 302), (Role.DEVELOPER, 403)])
def test_management_keys_are_for_admins(shop: Shop, role: Role, status: int) -> None:
    client = member(shop, role)
    answer = client.post("/keys/create", form(scopes=["inference", "management"]))
    assert answer.status_code == status
    assert shop.organisation.api_keys.count() == (status == 302)


def test_a_rotated_key_overlaps_with_the_new_one(shop: Shop) -> None:
    old = made_key(shop, requests_per_minute=5, models_allowed=["author/slug"])
    budget_set(organisation=shop.organisation, key=old, limit_nano=3 * USD, window=Window.DAY)
    client = signed_in(shop.owner)
    assert client.get(f"/keys/{old.pk}/rotate").status_code == 200
    assert client.post(f"/keys/{old.pk}/rotate", {"overlap_hours": "24"}).status_code == 302
    shown = client.get("/keys").content.decode().split("<table")[0]
    assert "wp_live_" in shown
    old.refresh_from_db()
    new = shop.organisation.api_keys.exclude(pk=old.pk).get()
    assert old.status == new.status == "active"
    assert old.expires_at is not None
    assert abs(old.expires_at - timezone.now() - 24 * HOUR) < timedelta(minutes=1)
    assert new.expires_at is None
    assert (new.name, new.requests_per_minute, new.models_allowed) == ("mine", 5, ["author/slug"])
    budget = Budget.objects.get(key=new)
    assert (budget.limit_nano, budget.window) == (3 * USD, Window.DAY)


def test_without_overlap_the_old_key_ends_at_once(shop: Shop) -> None:
    old = made_key(shop)
    answer = signed_in(shop.owner).post(
        f"/api/v1/keys/{old.pk}/rotate", {"overlap_hours": 0}, content_type="application/json"
    )
    assert answer.status_code == 201
    assert answer.json()["key"].startswith("wp_live_")
    assert answer.headers["Cache-Control"] == "no-store"
    old.refresh_from_db()
    assert old.status == "revoked"


def test_rotation_never_prolongs_a_key(shop: Shop) -> None:
    until = timezone.now() + HOUR
    old = made_key(shop, expires_at=until)
    new, _key = api_key_rotate(api_key=old, overlap=24 * HOUR)
    old.refresh_from_db()
    assert old.expires_at == new.expires_at == until


def test_what_cannot_be_rotated(shop: Shop) -> None:
    row = made_key(shop)
    with pytest.raises(ValidationError):
        api_key_rotate(api_key=row, overlap=OVERLAP_MAX + HOUR)
    api_key_revoke(api_key=row)
    with pytest.raises(ValidationError):
        api_key_rotate(api_key=row, overlap=HOUR)
    client = signed_in(shop.owner)
    path = f"/api/v1/keys/{row.pk}/rotate"
    answer = client.post(path, {}, content_type="application/json")
    assert answer.status_code == 400
    assert client.get(f"/keys/{row.pk}/rotate").status_code == 404
    assert shop.organisation.api_keys.count() == 1


@pytest.mark.parametrize(
    ("role", "status"), [(Role.ADMIN, 302), (Role.DEVELOPER, 403), (Role.VIEWER, 403)]
)
def test_who_may_rotate_a_management_key(shop: Shop, role: Role, status: int) -> None:
    row = made_key(shop, scopes=["management"])
    answer = member(shop, role).post(f"/keys/{row.pk}/rotate", {"overlap_hours": "1"})
    assert answer.status_code == status


def test_a_stranger_finds_no_key_to_rotate(shop: Shop) -> None:
    row = made_key(shop)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.post(f"/keys/{row.pk}/rotate", {"overlap_hours": "1"}).status_code == 404
    assert client.post(f"/api/v1/keys/{row.pk}/rotate").status_code == 404
    assert shop.organisation.api_keys.count() == 1


def test_a_call_is_noted_as_use_of_its_key(shop: Shop) -> None:
    row, other = made_key(shop), made_key(shop)
    now_ms = int(time.time() * 1000)
    for created_at_ms in (now_ms - 5_000, now_ms - 1_000):
        settle(
            record(
                account_id=shop.customer_account.pk,
                organisation_id=shop.organisation.pk,
                key_id=row.pk,
                created_at_ms=created_at_ms,
            )
        )
    assert keys_used() == 1
    assert keys_used() == 0
    row.refresh_from_db()
    other.refresh_from_db()
    assert row.last_used_at is not None
    assert round(row.last_used_at.timestamp() * 1000) == now_ms - 1_000
    assert other.last_used_at is None


def test_limits_of_models_and_end_users_are_set_on_the_page_and_over_the_api(shop: Shop) -> None:
    client, row = signed_in(shop.owner), made_key(shop)
    lines = [
        {"model": "author/slug", "usd_per_day": "0.5"},
        {"each_user": "on", "requests_per_minute": "6"},
        {},
    ]
    sent = {
        f"rules-{n}-{name}": value for n, line in enumerate(lines) for name, value in line.items()
    }
    sent |= {"rules-TOTAL_FORMS": len(lines), "rules-INITIAL_FORMS": 0}
    assert client.post(f"/keys/{row.pk}", {"name": "mine", **sent}).status_code == 302
    (published,) = snapshot_build().keys
    assert published.rules == (
        LimitRule("author/slug", limits=RateLimits(nano_per_day=USD // 2)),
        LimitRule(each_user=True, limits=RateLimits(requests_per_minute=6)),
    )
    page = client.get(f"/keys/{row.pk}").content.decode()
    assert 'value="author/slug"' in page
    assert 'value="0.5"' in page
    # What the form does not have stays, and what is emptied goes.
    assert client.post(f"/keys/{row.pk}", {"name": "other"}).status_code == 302
    assert snapshot_build().keys[0].rules == published.rules
    new, _ = api_key_rotate(api_key=row, overlap=HOUR)
    assert snapshot_build().keys[1].rules == published.rules
    sent |= {"rules-INITIAL_FORMS": 2, "rules-0-model": "", "rules-0-usd_per_day": ""}
    assert client.post(f"/keys/{row.pk}", {"name": "mine", **sent}).status_code == 302
    assert snapshot_build().keys[0].rules == published.rules[1:]
    changed = client.patch(
        f"/api/v1/keys/{new.pk}",
        {"rules": [{"each_user": True, "nano_per_day": 7}]},
        "application/json",
    )
    assert changed.json()["rules"] == [{"each_user": True, "nano_per_day": 7}]
    assert snapshot_build().keys[1].rules == (
        LimitRule(each_user=True, limits=RateLimits(nano_per_day=7)),
    )


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"requests_per_minute": 1}], "of a model, of each end user, or of both"),
        ([{"each_user": True}], "needs a number"),
        ([{"each_user": True, "calls_at_once": 1}] * 2, "make them one"),
        ([{"model": "no/such", "calls_at_once": 1}], "There is no model no/such"),
        ([{"model": "author/slug", "calls": 1}], "calls"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(
    shop: Shop, rules: list[dict[str, object]], said: str
) -> None:
    path = f"/api/v1/keys/{made_key(shop).pk}"
    refused = signed_in(shop.owner).patch(path, {"rules": rules}, "application/json")
    assert refused.status_code == 400
    assert said in refused.content.decode()
