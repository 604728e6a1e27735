"""An organisation's own endpoints: listed, sealed, published to routers, charged and removed."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from typing import Any
from unittest import mock

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import ProgrammingError
from django.test import Client

from marketplace.audit.models import AuditEntry
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.catalog.addresses import HostUnknown
from marketplace.endpoints import pages, trying
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.services import (
    own_endpoint_change,
    own_endpoint_key_rotate,
    own_endpoint_list,
    own_endpoint_remove,
)
from marketplace.endpoints.trying import Tried, own_endpoint_try
from marketplace.inference.callers import Caller
from marketplace.keys.rules import models_allowed_check
from marketplace.routing.models import SnapshotRow
from marketplace.shared.sealing import Purpose, vault
from marketplace.usage.models import DeploymentRollup, ModelFigures
from marketplace.usage.services import deployment_rollups_compute, figures_compute
from router.contracts.sealing import ENDPOINT_KEYS, Vault
from router.contracts.snapshot import Snapshot, decode_snapshot
from router.domain.catalog import Own
from router.domain.protocols import OWN_ANTHROPIC, OWN_OPENAI
from router.domain.request import MaxPrice
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db

KEY = "sk-live-of-acme-0123456789"
SEALED_BY = b"key-of-endpoints-of-no-value-outside-it"
PLACE = "https://192.0.78.9"


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def keys(settings: Any) -> Any:
    settings.WAYPOST_ENDPOINT_SECRETS_KEYS = [SEALED_BY]
    settings.WAYPOST_ENDPOINT_NETWORKS = []
    return settings


def listed(shop: Shop, **more: Any) -> OwnEndpoint:
    given = {"slug": "llama", "task": "chat", "url": PLACE, "upstream_model": "m", "key": KEY}
    return own_endpoint_list(organisation=shop.organisation, **(given | more))


def published() -> Snapshot:
    row = SnapshotRow.objects.first()
    assert row is not None
    return decode_snapshot(msgspec.json.encode(row.body))


def test_routers_get_it_and_its_key_sealed(shop: Shop, keys: Any) -> None:
    keys.WAYPOST_ENDPOINT_FEE_NANO = 70
    row = listed(
        shop,
        url=f"{PLACE}/api/v1/",
        stands_for=shop.model,
        market_prompt_nano_max=500_000_000,
    )
    assert row.url == f"{PLACE}/api"
    snapshot = published()
    (model,) = [model for model in snapshot.models if model.own is not None]
    assert model.name == "~acme/llama"
    assert model.own == Own(
        shop.organisation.pk, "author/slug", spills=True, market_max=MaxPrice(prompt=0.5)
    )
    (worker,) = [worker for worker in snapshot.workers if worker.sealed_key]
    assert (worker.protocol, worker.url, worker.slots) == (OWN_OPENAI, f"{PLACE}/api", 16)
    # A router's keys open it, and nothing that seals other things does.
    assert Vault([SEALED_BY], ENDPOINT_KEYS).open(worker.sealed_key) == KEY
    (deployment,) = [row for row in snapshot.deployments if row.model == model.name]
    assert (deployment.id, deployment.provider_account_id) == (-row.pk, 0)
    assert (deployment.price.request_nano, deployment.commission_bps) == (70, 10_000)
    own_endpoint_remove(endpoint=row)
    assert not [model for model in published().models if model.own is not None]


def test_a_key_is_nowhere_but_in_its_envelope(shop: Shop) -> None:
    row = listed(shop)
    own_endpoint_key_rotate(endpoint=row, key=KEY[::-1])
    client = Client()
    client.force_login(shop.owner)
    seen = "".join(
        client.get(path).content.decode()
        for path in (
            "/endpoints",
            f"/endpoints/{row.pk}",
            f"/endpoints/{row.pk}/key",
            "/audit-log",
            "/api/v1/endpoints",
            f"/api/v1/endpoints/{row.pk}",
        )
    )
    bad = client.post(f"/endpoints/{row.pk}/key", {"key": f"{KEY} with a space"})
    assert bad.status_code == 422
    kept = "".join(str(entry.__dict__) for entry in AuditEntry.objects.all()) + "".join(
        str(snapshot.body) for snapshot in SnapshotRow.objects.all()
    )
    stored = OwnEndpoint.objects.get()
    assert stored.masked_key == f"…{KEY[::-1][-4:]}"
    for key in (KEY, KEY[::-1]):
        assert key not in seen + bad.content.decode() + kept
        assert key not in str(OwnEndpoint.objects.values().get())
    assert vault(Purpose.ENDPOINTS).open(stored.sealed_key) == KEY[::-1]


def test_short_keys_show_nothing(shop: Shop) -> None:
    assert listed(shop, key="short").masked_key == "…"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:9",
        "https://localhost",
        "https://10.1.2.3",
        "https://169.254.169.254",
        "https://[::1]",
        "https://[::ffff:10.0.0.1]",
        "https://100.64.0.1",
        "http://192.0.78.9",
        "ftp://192.0.78.9",
        "https://user:pass@192.0.78.9",
        "https://192.0.78.9/?x=1",
        "nothing",
    ],
)
def test_an_endpoint_that_is_inside_is_not_listed(shop: Shop, url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        listed(shop, url=url)
    assert "url" in refused.value.message_dict
    assert not OwnEndpoint.objects.exists()


def test_an_operator_may_let_them_be_inside(shop: Shop, keys: Any) -> None:
    keys.WAYPOST_ENDPOINT_NETWORKS = ["127.0.0.0/8"]
    assert listed(shop, url="http://127.0.0.1:9").url == "http://127.0.0.1:9"


def test_a_name_that_nobody_knows_is_not_listed(shop: Shop) -> None:
    unknown = HostUnknown("the name 'x.example' is not known")
    with (
        mock.patch("marketplace.endpoints.services.resolve_now", side_effect=unknown),
        pytest.raises(ValidationError, match="not known"),
    ):
        listed(shop, url="https://x.example")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"key": "two words"}, "key"),
        ({"key": "a\r\nb"}, "key"),
        ({"slots": 0}, "slots"),
        ({"slug": "No Slug"}, "slug"),
        ({"task": "embeddings", "dialect": "anthropic"}, "task"),
        ({"upstream_model": ""}, "upstream_model"),
    ],
)
def test_what_no_endpoint_can_be_is_refused(shop: Shop, more: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        listed(shop, **more)
    assert field in refused.value.message_dict


def test_one_endpoint_is_first_for_a_model(shop: Shop) -> None:
    listed(shop, stands_for=shop.model)
    with pytest.raises(ValidationError, match="first for this model"):
        listed(shop, slug="other", stands_for=shop.model)
    second = listed(shop, slug="other", dialect="anthropic")
    own_endpoint_change(endpoint=second, slots=3)
    (worker,) = [one for one in published().workers if one.slots == 3]
    assert worker.protocol == OWN_ANTHROPIC


def test_a_fee_is_the_platforms_whole(shop: Shop) -> None:
    row = listed(shop)
    given = {
        "account_id": shop.customer_account.pk,
        "organisation_id": shop.organisation.pk,
        "provider_account_id": 0,
        "deployment_id": row.deployment_id,
        "model": row.name,
        "charge_nano": 70,
    }
    settle(record(**given, commission_nano=70))
    assert ledger_proof().gaps == ()
    with pytest.raises(ProgrammingError, match="do not fit together"):
        settle(record(**given, commission_nano=60))


def test_no_public_sum_counts_its_calls(shop: Shop) -> None:
    row = listed(shop)
    of_acme = {
        "account_id": shop.customer_account.pk,
        "organisation_id": shop.organisation.pk,
    }
    settle(record(**of_acme, model=row.name, deployment_id=row.deployment_id, charge_nano=0))
    market = {"model": shop.model.name, "deployment_id": shop.deployment.pk}
    provider = {"provider_account_id": shop.provider_account.pk}
    settle(record(**of_acme, **market, **provider, charge_nano=0))
    figures_compute()
    deployment_rollups_compute()
    assert {figure.model for figure in ModelFigures.objects.all()} == {shop.model.name}
    assert {rollup.model for rollup in DeploymentRollup.objects.all()} == {shop.model.name}


def test_a_key_may_be_for_it_alone(shop: Shop) -> None:
    assert models_allowed_check([listed(shop).name]) == ["~acme/llama"]
    with pytest.raises(ValidationError):
        models_allowed_check(["acme/llama"])


def test_its_calls_are_on_its_page(shop: Shop) -> None:
    row = listed(shop)
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            model=row.name,
            deployment_id=row.deployment_id,
            charge_nano=0,
            total_ms=1_500.0,
        )
    )
    client = Client()
    client.force_login(shop.owner)
    for path in ("/endpoints", f"/endpoints/{row.pk}"):
        content = client.get(path).content.decode()
        assert row.name in content
        assert "1.4" in content or "1.5" in content


def test_a_rotation_of_what_seals_reaches_routers(shop: Shop, keys: Any) -> None:
    listed(shop)
    keys.WAYPOST_ENDPOINT_SECRETS_KEYS = [SEALED_BY[::-1], SEALED_BY]
    out = StringIO()
    call_command("secrets", "rotate", stdout=out)
    assert "endpoint keys: 1, of which 1 were under an older key" in out.getvalue()
    (worker,) = [one for one in published().workers if one.sealed_key]
    assert Vault([SEALED_BY[::-1]], ENDPOINT_KEYS).open(worker.sealed_key) == KEY


def test_pages_add_change_try_rotate_and_remove(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.force_login(shop.owner)
    form = {
        "slug": "llama",
        "task": "chat",
        "dialect": "openai",
        "url": PLACE,
        "key": KEY,
        "upstream_model": "m",
        "slots": 4,
        "context_tokens_max": 0,
        "completion_tokens_max": 0,
        "stands_for": shop.model.name,
        "spills": "on",
        "market_prompt_usd_max": "0.5",
    }
    inside = client.post("/endpoints/new", form | {"url": "https://10.0.0.1"})
    assert inside.status_code == 422
    assert b"internal address" in inside.content
    made = client.post("/endpoints/new", form)
    row = OwnEndpoint.objects.get()
    assert (made.status_code, made.headers["Location"]) == (302, f"/endpoints/{row.pk}")
    assert row.market_prompt_nano_max == 500_000_000
    shown = client.get(f"/endpoints/{row.pk}").content.decode()
    assert f'<option value="{shop.model.name}" selected>' in shown
    changed = form | {"slots": 9, "market_prompt_usd_max": "", "stands_for": ""}
    assert client.post(f"/endpoints/{row.pk}", changed).status_code == 302
    row.refresh_from_db()
    assert (row.slots, row.stands_for, row.market_prompt_nano_max) == (9, None, None)
    monkeypatch.setattr(
        pages, "own_endpoint_try", lambda **_: Tried(False, 502, 1.0, "it is out today", "")
    )
    assert client.post(f"/endpoints/{row.pk}/try").status_code == 302
    assert b"it is out today" in client.get(f"/endpoints/{row.pk}").content
    assert b"it is out today" not in client.get(f"/endpoints/{row.pk}").content
    assert client.post(f"/endpoints/{row.pk}/key", {"key": KEY[::-1]}).status_code == 302
    asked = client.post(f"/endpoints/{row.pk}/remove")
    assert b"~acme/llama" in asked.content
    assert OwnEndpoint.objects.exists()
    client.post(f"/endpoints/{row.pk}/remove", {"confirmed": "1"})
    assert not OwnEndpoint.objects.exists()


def test_a_test_call_goes_to_the_router_once(shop: Shop, settings: Any) -> None:
    row = listed(shop)
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, user_id=shop.owner.pk)
    heard: list[bytes] = []

    class Router(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(502)
            self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "refuses its key"}}')

    with HTTPServer(("127.0.0.1", 0), Router) as router:
        settings.WAYPOST_ROUTER_URL = f"http://127.0.0.1:{router.server_port}"
        answering = threading.Thread(target=router.handle_request)
        answering.start()
        tried = own_endpoint_try(endpoint=row, caller=caller)
        answering.join()
    assert (tried.ok, tried.status, tried.text) == (False, 502, "refuses its key")
    (asked,) = heard
    assert b'"~acme/llama"' in asked
    assert own_endpoint_try(endpoint=row, caller=caller).status == 0


def test_a_test_call_that_takes_long_says_so(
    shop: Shop, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "DEADLINE_S", 0.2)
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, user_id=shop.owner.pk)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.WAYPOST_ROUTER_URL = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert (
            own_endpoint_try(endpoint=listed(shop), caller=caller).text == "No answer within 0.2 s."
        )


def test_what_was_read_before_a_rotation_or_a_removal_brings_nothing_back(shop: Shop) -> None:
    listed(shop)
    early, late = OwnEndpoint.objects.get(), OwnEndpoint.objects.get()
    own_endpoint_key_rotate(endpoint=late, key=KEY[::-1])
    own_endpoint_change(endpoint=early, slots=3)
    row = OwnEndpoint.objects.get()
    assert (row.slots, vault(Purpose.ENDPOINTS).open(row.sealed_key)) == (3, KEY[::-1])
    own_endpoint_remove(endpoint=late)
    for act, said in ((own_endpoint_change, {"slots": 5}), (own_endpoint_key_rotate, {"key": KEY})):
        with pytest.raises(ValidationError, match="was removed"):
            act(endpoint=early, **said)
    assert not OwnEndpoint.objects.exists()
