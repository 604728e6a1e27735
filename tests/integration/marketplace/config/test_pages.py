"""The pages: who sees what, in which language, and at how many queries."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.translation.template import templatize

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Offer, Pool, Worker
from marketplace.usage.services import figures_compute
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

TEMPLATES = Path(django_settings.BASE_DIR) / "frontend" / "templates"
MEMBERS_PAGES = [
    *(
        "/keys",
        "/webhooks",
        "/endpoints",
        "/usage",
        "/usage.csv",
        "/billing",
        "/budgets",
        "/earnings",
    )
]
PUBLIC_PAGES = ["/", "/models", "/models/author/slug", "/models/author/slug?tab=api", "/login/"]


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """A request leaves its language behind in the thread."""
    yield
    translation.activate("en")


@pytest.fixture
def member(shop: Shop) -> Client:
    return signed_in(shop.owner)


def client_with_role(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


def settled_call(shop: Shop, **values: object) -> str:
    offer = Offer.objects.get(deployment=shop.deployment)
    made = record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        price_id=offer.pk,
        prompt_tokens=1_000,
        charge_nano=20_000,
        worker_id="fast-0",
        pool="fast",
        **{
            "ttft_ms": 10.0,
            "total_ms": 30.0,
            "created_at_ms": int(time.time() * 1000),
            "deployment_id": shop.deployment.pk,
            **values,
        },
    )
    settle(made)
    return made.request_id


def test_the_first_visitor_does_not_wait_for_views_to_be_imported() -> None:
    page = "marketplace.storefront.browse.pages"
    asked = f"import sys, marketplace.config.wsgi; print({page!r} in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "True"


@pytest.mark.parametrize("path", PUBLIC_PAGES)
def test_the_catalog_is_public(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", [*MEMBERS_PAGES, "/routes"])
def test_strangers_are_asked_to_sign_in(shop: Shop, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/")


@pytest.mark.parametrize("path", [*PUBLIC_PAGES[:3], *MEMBERS_PAGES])
def test_members_see_every_page_of_theirs(member: Client, path: str) -> None:
    assert member.get(path).status_code == 200


def test_nobody_sees_another_organisations_anything(shop: Shop) -> None:
    request_id = settled_call(shop)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/usage/{request_id}").status_code == 404
    for path in MEMBERS_PAGES:
        response = client.get(path)
        shown = b"".join(response) if response.streaming else response.content
        assert request_id[:13].encode() not in shown, path
        assert b"Acme" not in shown, path


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.OWNER, 302), (Role.DEVELOPER, 302), (Role.BILLING, 403), (Role.VIEWER, 403)],
)
def test_only_some_roles_change_keys(shop: Shop, role: Role, status: int) -> None:
    client = client_with_role(shop, role)
    assert client.post("/keys/create", {"name": "new"}).status_code == status
    assert shop.organisation.api_keys.count() == (1 if status == 302 else 0)


def test_a_key_is_shown_once_and_can_be_revoked(shop: Shop, member: Client) -> None:
    member.post("/keys/create", {"name": "mine"})
    assert b"wp_live_" in member.get("/keys").content.split(b"<table")[0]
    assert b"wp_live_" not in member.get("/keys").content.split(b"<table")[0]
    key = shop.organisation.api_keys.get()
    asked = member.post(f"/keys/{key.pk}/revoke").content.decode()
    assert "0 calls in the last hour" in asked
    assert "cannot be undone" in asked
    key.refresh_from_db()
    assert key.status == "active"
    member.post(f"/keys/{key.pk}/revoke", {"confirmed": "1"})
    key.refresh_from_db()
    assert key.status == "revoked"


def test_a_key_may_have_limits(shop: Shop, member: Client) -> None:
    refused = member.post("/keys/create", {"name": "mine", "calls_at_once": "0"})
    assert refused.status_code == 422
    assert b"<details open>" in refused.content
    member.post("/keys/create", {"name": "mine", "requests_per_minute": "60"})
    key = shop.organisation.api_keys.get()
    assert (key.requests_per_minute, key.tokens_per_minute) == (60, None)
    assert b"60 requests/min" in member.get("/keys").content


def test_a_key_of_another_organisation_cannot_be_revoked(shop: Shop) -> None:
    member = client_with_role(shop, Role.OWNER)
    member.post("/keys/create", {"name": "theirs"})
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    key = shop.organisation.api_keys.get()
    assert client.post(f"/keys/{key.pk}/revoke").status_code == 404


def test_a_nameless_key_is_refused_with_a_word(member: Client) -> None:
    response = member.post("/keys/create", {"name": ""})
    assert response.status_code == 422
    assert b'role="alert"' in response.content


def test_routes_are_for_staff(member: Client, shop: Shop) -> None:
    assert member.get("/routes").status_code == 403
    shop.owner.is_staff = True
    shop.owner.save()
    assert b"fast-0" in member.get("/routes").content


def test_usage_adds_up_and_a_call_is_taken_apart(shop: Shop, member: Client) -> None:
    request_id = settled_call(shop)
    settled_call(shop, outcome="client_gone", http_status=499)
    totals = member.get("/usage").context["totals"]
    assert (totals.calls, totals.charge_nano, totals.failed) == (2, 40_000, 1)
    assert (totals.tokens_in, totals.tokens_out) == (2_000, 0)
    # Of the completed call; out of a histogram.
    assert totals.total_ms_p50 == pytest.approx(30, rel=0.42)
    assert member.get("/usage?outcome=client_gone").context["totals"].calls == 1
    call = member.get(f"/usage/{request_id}")
    (line,) = call.context["lines"]
    assert (line["item"], line["quantity"], line["amount_nano"]) == (
        "Prompt tokens",
        "1,000",
        20_000,
    )
    csv = b"".join(member.get("/usage.csv")).decode()
    assert request_id in csv
    assert csv.count("\n") == 3


def test_a_range_leaves_older_calls_out(shop: Shop, member: Client) -> None:
    day_s = 24 * 3600
    now_s = time.time()
    for age_s in (0, 12 * 3600, 5 * day_s, 20 * day_s, 40 * day_s, 200 * day_s):
        settled_call(shop, created_at_ms=int((now_s - age_s) * 1000))

    def counted(query: str) -> int:
        page = member.get(f"/usage?{query}")
        assert len(page.context["calls"]) == page.context["totals"].calls
        return page.context["totals"].calls

    ranges = ("6h", "24h", "7d", "30d", "90d", "", "nonsense")
    assert [counted(f"range={name}") for name in ranges] == [1, 2, 3, 4, 5, 3, 3]
    then = datetime.fromtimestamp(now_s - 200 * day_s, UTC).date()
    assert counted(f"range=custom&from={then}&to={then}") == 1
    assert counted(f"range=custom&from={then}&to=nonsense") == 3
    assert b"".join(member.get("/usage.csv?range=6h")).count(b"\n") == 2


def test_a_person_of_two_organisations_switches_between_them(shop: Shop, member: Client) -> None:
    request_id = settled_call(shop)
    assert b'id="organisation"' not in member.get("/usage").content
    organisation_create(name="Zeta", slug="zeta", owner=shop.owner)
    assert member.get(f"/usage/{request_id}").status_code == 200
    assert member.post("/organisation/switch", {"slug": "zeta"}).status_code == 302
    assert member.get(f"/usage/{request_id}").status_code == 404
    page = member.get("/usage")
    assert page.context["totals"].calls == 0
    assert '<option value="zeta" selected>Zeta</option>' in page.content.decode()
    organisation_create(name="Far", slug="far", owner=User.objects.create_user("far@example.com"))
    for not_mine in ("far", "nowhere", ""):
        assert member.post("/organisation/switch", {"slug": not_mine}).status_code == 404
    assert member.get("/usage").context["organisation"].slug == "zeta"


def test_an_expired_form_says_what_to_do(shop: Shop) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/login/", {"login": "a@b.c", "password": "x"})
    assert response.status_code == 403
    assert b"This form has expired" in response.content


def test_our_own_faults_have_a_page_and_a_problem_document(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("marketplace.accounts.organisations.current.current_organisation", fails)
    monkeypatch.setattr("marketplace.storefront.browse.api.ModelViewSet.list", fails)
    client = signed_in(User.objects.create_user("a@example.com"), raise_request_exception=False)
    page = client.get("/")
    assert page.status_code == 500
    assert "Something went wrong on our side" in page.content.decode()
    assert nonces(page)
    answer = client.get("/api/v1/models")
    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")


def nonces(page: HttpResponse) -> set[str]:
    """Of a page's scripts: each has that of the page's policy, or the set is empty."""
    scripts = re.findall(r"<script[^>]*>", page.content.decode())
    used = {re.search(r'nonce="([^"]*)"', script)[1] for script in scripts}  # type: ignore[index]
    (nonce,) = re.findall(r"'nonce-([^']+)'", page.headers["Content-Security-Policy"])
    return used if used == {nonce} else set()


def test_scripts_run_by_a_nonce_that_is_new_each_time(shop: Shop, member: Client) -> None:
    first, second = nonces(member.get("/")), nonces(member.get("/"))
    assert first
    assert second
    assert first != second
    policy = member.get("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy


def test_no_template_has_a_script_or_a_style_of_its_own() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"|javascript:")
    found = [
        f"{path.relative_to(TEMPLATES)}: {match[0]}"
        for path in TEMPLATES.rglob("*.html")
        for match in inline.finditer(path.read_text())
    ]
    assert found == []


def test_counts_are_written_with_their_thousands_apart() -> None:
    counts = (
        "accounts|calls|completed|context_tokens_max|failed|faults|images|leases|rows|samples"
        "|tokens|tokens_in|tokens_out|tokens_total|transfers"
    )
    bare = re.compile(rf">\{{\{{ [a-z_.]+\.(?:{counts}) \}}\}}")
    found = [
        f"{path.relative_to(TEMPLATES)}: {match[0]}"
        for path in TEMPLATES.rglob("*.html")
        for match in bare.finditer(path.read_text())
    ]
    assert found == []


def test_each_value_of_a_stacked_row_has_its_columns_name() -> None:
    """On a phone, where no head says it."""
    nameless = []
    for path in TEMPLATES.rglob("*.html"):
        for table in re.findall(r'<table class="stacked">.*?</table>', path.read_text(), re.DOTALL):
            for row in re.findall(r"<tr.*?</tr>", table.split("</thead>")[1], re.DOTALL):
                cells = re.findall(r"<t[dh]\b(?:\s(?:[^>{]|\{%.*?%\})*)?>", row)[1:]
                nameless += [(path.name, cell) for cell in cells if "data-label" not in cell]
    assert nameless == []


def test_filters_and_sort_live_in_the_url(shop: Shop) -> None:
    AIModel.objects.create(name="b/vision", display_name="Seer", task="vision", emulated=True)
    client = Client()

    def shown(query: str) -> list[str]:
        return [row.model.name for row in client.get(f"/models?{query}").context["rows"]]

    assert shown("") == ["author/slug", "b/vision"]
    assert shown("task=vision") == ["b/vision"]
    assert shown("kind=real") == ["author/slug"]
    assert shown("q=seer") == ["b/vision"]
    assert shown("provider=northyard") == ["author/slug"]
    assert shown("hardware=CPU") == ["author/slug"]
    assert shown("hardware=TPU") == []
    assert shown("task=nonsense&kind=nonsense&sort=nonsense") == ["author/slug", "b/vision"]
    for order in ("price", "speed", "use"):
        assert sorted(shown(f"sort={order}")) == ["author/slug", "b/vision"]
    assert b"No models match" in client.get("/models?q=zzz").content


def test_htmx_gets_the_results_alone(shop: Shop) -> None:
    partial = Client().get("/models", headers={"HX-Request": "true"}).content
    assert b"author/slug" in partial
    assert b"<html" not in partial


def test_what_is_emulated_says_so(shop: Shop) -> None:
    AIModel.objects.create(name="emulated/x", display_name="X", task="chat", emulated=True)
    for path in ("/", "/models", "/models/emulated/x"):
        assert b'badge-signal"' in Client().get(path).content


def test_measured_figures_come_with_their_sample(shop: Shop) -> None:
    settled_call(shop)
    figures_compute()
    page = Client().get("/models/author/slug").content.decode()
    assert "Measured over 1 call" in page


def test_the_api_tab_names_the_router(shop: Shop) -> None:
    page = Client().get("/models/author/slug?tab=api").content.decode()
    assert f"{django_settings.WAYPOST_ROUTER_URL}/v1/chat/completions" in page


def add_models(shop: Shop, names: range) -> None:
    for i in names:
        model = AIModel.objects.create(name=f"m/n{i}", display_name=f"N{i}", task="chat")
        version = ModelVersion.objects.create(model=model, version="1")
        pool = Pool.objects.create(name=f"pool-{i}", hardware="CPU", engine="x")
        Worker.objects.create(worker_id=f"w{i}", pool=pool, url="http://x:1", protocol="openai")
        deployment = Deployment.objects.create(
            version=version, provider=shop.provider, pool=pool, upstream_model="x"
        )
        Offer.objects.create(deployment=deployment)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/models",
        "/models?sort=price",
        "/models/author/slug",
        "/usage",
        "/keys",
        "/billing",
        "/routes",
    ],
)
def test_more_rows_cost_no_more_queries(
    shop: Shop,
    member: Client,
    path: str,
    django_assert_max_num_queries: Callable[..., CaptureQueriesContext],
) -> None:
    shop.owner.is_staff = True
    shop.owner.save()

    def grow(names: range) -> None:
        add_models(shop, names)
        for i in names:
            settled_call(shop)
            if path == "/keys":
                member.post("/keys/create", {"name": f"k{i}"})

    grow(range(3))
    member.get(path)
    with django_assert_max_num_queries(30) as few:
        member.get(path)
    queries = len(few)
    grow(range(3, 15))
    member.get(path)
    with django_assert_max_num_queries(queries):
        member.get(path)


def test_pages_speak_portuguese(shop: Shop, member: Client) -> None:
    page = Client().get("/models", headers={"Accept-Language": "pt-BR"}).content.decode()
    assert '<html lang="pt-br">' in page
    assert "Modelos, no hardware que responde primeiro" in page
    member.post("/i18n/setlang/", {"language": "pt-br", "next": "/usage"})
    assert "Nenhuma chamada aqui" in member.get("/usage").content.decode()


def translated() -> set[str]:
    """The messages that there is Portuguese for."""
    source = (Path(django_settings.LOCALE_PATHS[0]) / "pt_BR/LC_MESSAGES/django.po").read_text()
    joined = re.sub(r'"\n"', "", source)
    assert not re.findall(r'^msgstr ""\n\n', joined, re.MULTILINE), "an empty translation"
    found = re.findall(r'^msgid(?:_plural)? "(.*)"$', joined, re.MULTILINE)
    return {raw.replace('\\"', '"').replace("\\n", "\n") for raw in found}


def test_every_string_of_the_templates_is_translated() -> None:
    known = translated()
    missing = [
        (template.name, string)
        for template in TEMPLATES.rglob("*.html")
        for _, string in re.findall(
            r"""gettext\(u?(['"])((?:(?!\1).)*)\1""", templatize(template.read_text())
        )
        if string.replace("\\'", "'") not in known
    ]
    assert missing == []


def test_every_string_of_the_code_is_translated() -> None:
    known = translated()
    missing = [
        (path.name, argument.value)
        for path in (Path(django_settings.BASE_DIR) / "marketplace").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
        for argument in node.args[: 2 if node.func.id.startswith("ngettext") else 1]
        if isinstance(argument, ast.Constant) and argument.value not in known
    ]
    assert missing == []
