"""Presets: saved version by version, on pages and over the API, and published to routers."""

import json

import pytest
from django.test import Client

from marketplace.audit.models import AuditEntry
from marketplace.presets.models import Preset
from marketplace.routing.selectors import snapshot_build
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture
def client(shop: Shop) -> Client:
    made = Client()
    made.force_login(shop.owner)
    return made


def published() -> list[tuple[str, int, str, str, str]]:
    return [
        (preset.name, preset.version, preset.model, preset.system, preset.fields)
        for preset in snapshot_build().presets
    ]


def test_each_save_is_a_version_that_routers_get_and_an_old_one_can_be_saved_again(
    client: Client,
) -> None:
    first = {"name": "brief", "model": "author/slug", "system": "Be brief.", "parameters": ""}
    assert client.post("/presets/new", first).status_code == 302
    assert published() == [("brief", 1, "author/slug", "Be brief.", "{}")]
    logged = json.dumps(list(AuditEntry.objects.values_list("changes", flat=True)))
    assert "author/slug" in logged
    assert "Be brief." not in logged, "prompts are never recorded"
    second = {"model": "author/slug:floor", "parameters": '{"temperature": 0.2}'}
    assert client.post("/presets/brief", second).status_code == 302
    assert published() == [("brief", 2, "author/slug:floor", "", '{"temperature": 0.2}')]
    assert client.post("/presets/brief", second).status_code == 302
    assert Preset.objects.count() == 2
    old = client.get("/presets/brief?version=1").content.decode()
    assert "Be brief." in old
    assert "Saving it makes it the version in force" in old
    assert client.get("/presets/brief?version=9").status_code == 404
    client.post("/presets/brief/retire", {"confirmed": "1"})
    assert published() == []
    assert "retired" in client.get("/presets").content.decode()
    assert client.post("/presets/brief", first).status_code == 302
    assert published() == [("brief", 3, "author/slug", "Be brief.", "{}")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "A preset says something"),
        ({"model": "no/such"}, "There is no model no/such"),
        ({"model": "auto:luck"}, "There is no model auto:luck"),
        ({"parameters": {"messages": []}}, "A preset cannot have: messages"),
        ({"parameters": {"provider": {"sort": "luck"}}}, "sort"),
        ({"parameters": {"models": ["a/b"] * 5}}, "At most 4 fallbacks"),
        ({"parameters": {"stop": "\0"}}, "NUL"),
        ({"system": "x" * 8_001}, "At most"),
        ({"model": "author/slug", "name": "no name"}, "name"),
        ({"model": "author/slug", "sytem": "x"}, "sytem"),
    ],
)
def test_what_a_preset_cannot_say_is_told_by_field(
    client: Client, values: dict[str, object], said: str
) -> None:
    body = {"organisation": "acme", "name": "brief", **values}
    refused = client.post("/api/v1/presets", body, "application/json")
    assert refused.status_code == 400
    assert said in refused.content.decode()


def test_the_api_saves_and_retires(client: Client) -> None:
    body = {
        "organisation": "acme",
        "name": "brief",
        "model": "author/slug",
        "parameters": {"max_tokens": 9},
    }
    made = client.post("/api/v1/presets", body, "application/json")
    again = client.post("/api/v1/presets", body, "application/json")
    assert (made.status_code, again.status_code) == (201, 200)
    (row,) = client.get("/api/v1/presets").json()["results"]
    assert (row["name"], row["version"], row["parameters"]) == ("brief", 1, {"max_tokens": 9})
    assert client.delete(f"/api/v1/presets/{row['id']}").status_code == 204
    assert published() == []


def test_the_form_says_what_is_wrong_with_its_json(client: Client) -> None:
    wrong = {"name": "brief", "model": "author/slug", "parameters": "[1]"}
    page = client.post("/presets/new", wrong)
    assert page.status_code == 422
    assert "This is not a JSON object" in page.content.decode()
