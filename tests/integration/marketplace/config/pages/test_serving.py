"""How pages are served: the first one, those that fail, and at how many queries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Offer, Pool, Worker
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_the_first_visitor_does_not_wait_for_views_to_be_imported() -> None:
    page = "marketplace.storefront.browse.pages"
    asked = f"import sys, marketplace.config.wsgi; print({page!r} in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "True"


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
