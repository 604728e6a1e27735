"""Signing in to get a key: the page, the exchange, and everything that must not give one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from oauthlib.oauth2 import WebApplicationClient

from marketplace.accounts import services
from marketplace.accounts.models import ApiKey, Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.audit.models import AuditEntry
from marketplace.billing.models import Budget
from marketplace.keys.consents.services import challenge_of
from marketplace.keys.models import Consent
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

VERIFIER = "v" * 43
CALLBACK = "https://tool.example/back"
ASKED = {
    "response_type": "code",
    "client_id": "Tool",
    "redirect_uri": CALLBACK,
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}
AGREED = {"organisation": "acme", "name": "for Tool", "scopes": ["inference"]}


def link(**values: str) -> str:
    return "/auth?" + urlencode({**ASKED, **values})


def answered(client: Client, url: str = "", **values: Any) -> dict[str, list[str]]:
    """What the tool is told when the person agrees."""
    answer = client.post(url or link(), {**AGREED, **values})
    assert answer.status_code == 303, answer.content.decode()
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def exchanged(code: str, **values: str) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": CALLBACK,
        **values,
    }
    return Client(enforce_csrf_checks=True).post("/api/v1/auth/token", form)


def member(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


def refusal(answer: Any) -> tuple[int, str]:
    assert not ApiKey.objects.exclude(disabled_at__isnull=False).exists()
    return answer.status_code, answer.json()["error"]


def test_a_standard_client_gets_a_key_with_what_the_person_agreed_to(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    known = Client().get("/.well-known/oauth-authorization-server").json()
    tool = WebApplicationClient("Tool")
    verifier = tool.create_code_verifier(64)
    redirect_uri = "http://127.0.0.1:51234/back?x=1"
    url = tool.prepare_request_uri(
        known["authorization_endpoint"],
        redirect_uri=redirect_uri,
        scope=["inference", "management"],
        state="s",
        code_challenge=tool.create_code_challenge(verifier, "S256"),
        code_challenge_method="S256",
    )
    asked = url.removeprefix(known["issuer"])
    client = signed_in(shop.owner)
    page = client.get(asked).content.decode()
    assert "A program on this computer asks for a key" in page
    assert "“Tool”" in page
    assert 'value="management" checked' not in page, "it is the person who ticks it"
    back = client.post(asked, {**AGREED, "budget_usd": "5", "window": "week"})
    assert back.headers["Location"].startswith("http://127.0.0.1:51234/back?x=1&code=")
    tool.parse_request_uri_response(back.headers["Location"], state="s")
    sent = tool.prepare_request_body(redirect_uri=redirect_uri, code_verifier=verifier)
    answer = Client().post(
        known["token_endpoint"].removeprefix(known["issuer"]),
        sent,
        content_type="application/x-www-form-urlencoded",
    )
    token = tool.parse_request_body_response(answer.content.decode())
    assert token["scope"] == ["inference"], "oauthlib makes a list of the text"
    assert token["base_url"].endswith("/v1")
    row = shop.organisation.api_keys.get()
    assert (row.name, row.scopes, row.created_by) == ("for Tool", ["inference"], shop.owner)
    assert token["access_token"].endswith(row.masked[-4:])
    budget = Budget.objects.get(key=row)
    assert (budget.limit_nano, budget.window) == (5_000_000_000, "week")
    listed = client.get("/keys").content.decode()
    assert "asked for by a program" in listed
    client.post(f"/keys/{row.pk}/revoke", {"confirmed": "1"})
    row.refresh_from_db()
    assert row.status == "revoked"


def test_openrouters_words_are_understood(shop: Shop) -> None:
    asked = {
        "callback_url": f"{CALLBACK}?state=theirs",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        "key_label": "labelled",
        "limit": "2.5",
        "usage_limit_type": "daily",
    }
    url = "/auth?" + urlencode(asked)
    client = signed_in(shop.owner)
    page = client.get(url).content.decode()
    assert 'value="labelled"' in page
    assert 'value="2.5"' in page
    assert '<option value="day" selected>' in page
    told = answered(client, url)
    assert told["state"] == ["theirs"]
    body = {"code": told["code"][0], "code_verifier": VERIFIER, "code_challenge_method": "S256"}
    answer = Client().post("/api/v1/auth/keys", body, "application/json")
    assert answer.status_code == 200, answer.content
    assert answer.json()["key"].startswith("wp_live_")
    again = Client().post("/api/v1/auth/keys", body, "application/json")
    assert (again.status_code, again.json()["error"]["type"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"redirect_uri": ""}, "one redirect_uri"),
        ({"callback_url": CALLBACK}, "one redirect_uri"),
        ({"redirect_uri": "http://tool.example/back"}, "must be https"),
        ({"redirect_uri": "javascript:alert(1)"}, "must be https"),
        ({"redirect_uri": "//tool.example/back"}, "must be https"),
        ({"redirect_uri": "https:tool.example"}, "must be https"),
        ({"redirect_uri": "https://127.0.0.1@tool.example/"}, "must be https"),
        ({"redirect_uri": "http://127.0.0.1:80\\@tool.example/"}, "must be https"),
        ({"redirect_uri": "http://127.0.0.1.tool.example/"}, "must be https"),
        ({"redirect_uri": "http://[::1%25eth0]/"}, "must be https"),
        ({"redirect_uri": "http://127.0.0.1:x/"}, "must be https"),
        ({"redirect_uri": "https://tool.example/#part"}, "must be https"),
        ({"redirect_uri": "https://tool.example/ a"}, "must be https"),
        ({"redirect_uri": "https://tööl.example/"}, "must be https"),
        ({"redirect_uri": "https://tool.example;script-src/"}, "must be https"),
        ({"redirect_uri": "https://tool.example/\r\nX: y"}, "must be https"),
        ({"redirect_uri": f"https://tool.example/{'x' * 2_000}"}, "must be https"),
        ({"redirect_uri": f"{CALLBACK}?code=mine"}, "no code"),
        ({"code_challenge": "short"}, "code_challenge of 43"),
        ({"code_challenge_method": "plain"}, "code_challenge_method=S256"),
        ({"code_challenge_method": ""}, "code_challenge_method=S256"),
        ({"response_type": "token"}, "response_type must be code"),
        ({"scope": "inference root"}, "no scope root"),
        ({"state": "x" * 1_001}, "state may have"),
        ({"limit": "nan"}, "limit must be dollars"),
        ({"limit": "-1"}, "limit must be dollars"),
    ],
)
def test_a_link_that_is_wrong_is_answered_here_and_sends_nobody_anywhere(
    shop: Shop, values: dict[str, str], said: str
) -> None:
    for client in (signed_in(shop.owner), Client()):
        for answer in (client.get(link(**values)), client.post(link(**values), AGREED)):
            assert answer.status_code == 400
            assert said in answer.content.decode()
            assert "Location" not in answer.headers
    assert not Consent.objects.exists()


def test_what_is_said_twice_is_not_understood(shop: Shop) -> None:
    answer = signed_in(shop.owner).get(f"{link()}&redirect_uri=https%3A%2F%2Fother.example")
    assert answer.status_code == 400
    assert "more than once" in answer.content.decode()


def test_only_a_button_sends_a_person_to_the_tool(shop: Shop) -> None:
    client = signed_in(shop.owner)
    page = client.get(link(state="s t"))
    assert page.status_code == 200
    assert "form-action 'self' https://tool.example" in page.headers["Content-Security-Policy"]
    assert "<code>https://tool.example</code>" in page.content.decode()
    refused = client.post(link(state="s t"), {"refuse": "1"})
    told = parse_qs(urlsplit(refused.headers["Location"]).query)
    assert told == {"error": ["access_denied"], "state": ["s t"], "iss": ["http://127.0.0.1:8000"]}
    assert refused.headers["Location"].startswith(CALLBACK)
    assert Client(enforce_csrf_checks=True).post(link(), AGREED).status_code == 403
    assert not Consent.objects.exists()


def test_a_stranger_signs_in_first_and_comes_back(shop: Shop) -> None:
    answer = Client().get(link())
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["next"] == [link()]
    newcomer = signed_in(User.objects.create_user("new@example.com"))
    welcome = newcomer.get(link()).headers["Location"]
    assert welcome.startswith("/welcome?")
    assert newcomer.post(welcome, {"name": "New"}).headers["Location"] == link()
    other = signed_in(User.objects.create_user("newer@example.com"))
    gone = other.post("/welcome?next=https%3A%2F%2Ftool.example", {"name": "Newer"})
    assert gone.headers["Location"] == "/start"


def test_another_verifier_gets_no_key(shop: Shop) -> None:
    code = answered(signed_in(shop.owner))["code"][0]
    for wrong in ("w" * 43, "v", challenge_of(VERIFIER), "é" * 43):
        assert refusal(exchanged(code, code_verifier=wrong)) == (400, "invalid_grant")
    assert exchanged(code).status_code == 200


def test_a_code_works_once_and_takes_its_key_with_it_the_second_time(shop: Shop) -> None:
    code = answered(signed_in(shop.owner))["code"][0]
    assert exchanged(code).status_code == 200
    stolen = exchanged(code, code_verifier="w" * 43)
    assert stolen.status_code == 400
    row = shop.organisation.api_keys.get()
    assert row.status == "active", "who has the code alone takes nothing away"
    assert refusal(exchanged(code)) == (400, "invalid_grant")
    row.refresh_from_db()
    assert row.status == "revoked"
    assert shop.organisation.api_keys.count() == 1


def test_a_code_is_of_its_redirect_address(shop: Shop) -> None:
    code = answered(signed_in(shop.owner))["code"][0]
    foreign = exchanged(code, redirect_uri="https://other.example/back")
    assert refusal(foreign) == (400, "invalid_grant")
    assert refusal(exchanged(code, redirect_uri="")) == (400, "invalid_request")


def test_a_code_expires(shop: Shop) -> None:
    code = answered(signed_in(shop.owner))["code"][0]
    Consent.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refusal(exchanged(code)) == (400, "invalid_grant")
    Consent.objects.update(expires_at=timezone.now() - timedelta(days=2))
    answered(signed_in(shop.owner))
    assert Consent.objects.count() == 1, "what nobody came for is forgotten"


def test_a_person_of_another_organisation_gives_none_of_this_ones_keys(shop: Shop) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert "Acme" not in client.get(link()).content.decode()
    assert client.post(link(), AGREED).status_code == 422
    assert not Consent.objects.exists()


def test_who_left_before_the_exchange_gives_nothing(shop: Shop) -> None:
    client = member(shop, Role.DEVELOPER)
    code = answered(client)["code"][0]
    Membership.objects.filter(role=Role.DEVELOPER).update(role=Role.VIEWER)
    assert refusal(exchanged(code)) == (400, "invalid_grant")
    Membership.objects.filter(role=Role.VIEWER).delete()
    assert refusal(exchanged(code)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        (Role.VIEWER, ["inference"], 403),
        (Role.BILLING, ["inference"], 403),
        (Role.DEVELOPER, ["inference"], 303),
        (Role.DEVELOPER, ["inference", "management"], 403),
        (Role.ADMIN, ["inference", "management"], 303),
        (Role.ADMIN, [], 422),
    ],
)
def test_roles_give_no_more_than_on_the_page_of_keys(
    shop: Shop, role: Role, scopes: list[str], status: int
) -> None:
    wide = link(scope="inference management")
    answer = member(shop, role).post(wide, {**AGREED, "scopes": scopes})
    assert answer.status_code == status
    assert Consent.objects.exists() == (status == 303)


def test_where_no_further_key_may_be_that_is_said(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(shop.owner)
    code = answered(client)["code"][0]
    monkeypatch.setattr(services, "KEYS_MAX", 0)
    answer = client.post(link(), AGREED)
    assert answer.status_code == 422
    assert "revoke those that nobody needs" in answer.content.decode()
    assert refusal(exchanged(code)) == (400, "invalid_grant")


def test_nobody_gives_more_than_was_asked_for(shop: Shop) -> None:
    answer = signed_in(shop.owner).post(link(), {**AGREED, "scopes": ["management"]})
    assert answer.status_code == 422


def test_the_audit_log_says_who_agreed_to_what_and_no_code(shop: Shop) -> None:
    code = answered(signed_in(shop.owner))["code"][0]
    assert exchanged(code).status_code == 200
    made = AuditEntry.objects.filter(action=AuditEntry.Action.CREATE)
    consent = made.get(content_type__model="consent")
    key = made.get(content_type__model="apikey")
    for entry in (consent, key):
        assert entry.actor == shop.owner
    assert consent.changes["redirect_uri"][1] == CALLBACK
    assert code not in str([entry.changes for entry in AuditEntry.objects.all()])
    assert code not in str(Consent.objects.values())
    log = signed_in(shop.owner).get("/audit-log").content.decode()
    assert "Consent to a key for a tool" in log


def test_codes_and_consents_are_limited_in_number(shop: Shop, settings: LazySettings) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"key_exchange": "2/m/ip", "consent": "1/m/user"}
    client = signed_in(shop.owner)
    answered(client)
    assert client.post(link(), AGREED).status_code == 429
    for _ in range(2):
        assert exchanged("guessed").status_code == 400
    often = exchanged("guessed")
    assert (often.status_code, often.json()["error"]) == (429, "slow_down")
    assert often.headers["Retry-After"] == "60"


def test_a_tool_in_a_browser_may_exchange_from_its_own_page(shop: Shop) -> None:
    for path in ("/api/v1/auth/token", "/api/v1/auth/keys"):
        before = Client().options(path, headers={"origin": "https://tool.example"})
        assert before.status_code == 204
        assert before.headers["Access-Control-Allow-Origin"] == "*"
        assert "content-type" in before.headers["Access-Control-Allow-Headers"]
        assert Client().get(path).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        *("", "[1]", "{", '{"code": 1}', "[" * 100_000, b"\xff"),
        '{"code": "\\ud800", "code_verifier": "x"}',
        '{"code": "x", "code_verifier": "\\ud800"}',
    ],
)
def test_a_body_that_is_none_is_a_bad_request(shop: Shop, body: str) -> None:
    answer = Client().post("/api/v1/auth/keys", body, "application/json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    parts = Client().post("/api/v1/auth/keys", {"code": "x", "code_verifier": VERIFIER})
    assert (parts.status_code, parts.json()["error"]["type"]) == (400, "invalid_request")
    other = Client().post("/api/v1/auth/token", {"grant_type": "password", "code": "x"})
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")


def test_the_page_speaks_portuguese(shop: Shop) -> None:
    page = signed_in(shop.owner).get(link(), headers={"accept-language": "pt-br"})
    assert "tool.example pede uma chave" in page.content.decode()
    assert "tem então 5 minutos" in page.content.decode()


def test_a_limit_that_was_asked_for_is_in_its_field_in_every_language(shop: Shop) -> None:
    for language, shown in (("en", "12.5"), ("pt-br", "12,5")):
        page = signed_in(shop.owner).get(link(limit="12.5"), headers={"accept-language": language})
        assert f'name="budget_usd" value="{shown}"' in page.text, language
