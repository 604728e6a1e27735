"""Pages of pipelines: an organisation's own, the form, and what everybody sees."""

import json
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import AIModel
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.services import pipeline_apply
from tests.integration.marketplace.pipelines.test_management_api import called
from tests.integration.marketplace.pipelines.test_pipelines import LINE, SAY
from tests.integration.marketplace.shop import Shop, signed_in

PAGES = "/provide/pipelines"
OWN = PAGES + "/acme/line"
TALK = LINE | {
    "stages": [SAY | {"input": {"prompt": {"$from": "input.x"}}}],
    "output": {"$from": "say"},
}


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def client(shop: Shop, db: None) -> Client:
    return signed_in(shop.owner)


def post(client: Client, url: str, definition: Any, button: str = "publish") -> Any:
    return client.post(url, {"definition": json.dumps(definition), button: ""})


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_one_is_checked_published_changed_and_retired(shop: Shop, client: Client) -> None:
    assert "No pipeline yet" in text(client.get(PAGES))
    new = PAGES + "/new"
    begun = client.get(new).context["form"].initial["definition"]
    assert "Nothing is wrong" in text(post(client, new, json.loads(begun), "check"))
    checked = post(client, new, TALK, "check")
    assert (checked.status_code, Pipeline.objects.count()) == (200, 0)
    assert "Nothing is wrong" in text(checked)
    assert 'id="stage-say"' in text(checked)
    assert post(client, new, TALK).url == OWN
    called(shop, Pipeline.objects.get(), ("say", 10, 90))
    shown = text(client.get(OWN))
    for said in ("author/slug", "input.x", "choices", "100% of the time", "last 1 call"):
        assert said in shown, said
    assert post(client, OWN + "/version", TALK | {"output": 1}).url == OWN
    assert "version 2" in text(client.get(OWN))
    assert "acme/line" in text(client.get(PAGES))

    asked = client.post(OWN + "/retire")
    assert "what was asked for still runs" in text(asked)
    assert Pipeline.objects.filter(published=True).exists()
    client.post(OWN + "/retire", {"confirmed": "1"})
    assert not Pipeline.objects.filter(published=True).exists()
    assert "retired" in text(client.get(OWN))


def test_what_is_wrong_stands_by_its_place_and_the_text_stays(client: Client) -> None:
    wrong = TALK | {"stages": [SAY | {"model": "author/none"}], "output": {"$from": "late.x"}}
    for button in ("check", "publish"):
        answer = post(client, PAGES + "/new", wrong, button)
        assert answer.status_code == 422
        assert "<code>output</code>: late.x is of" in text(answer)
        assert "author/none" in text(answer)
    assert post(client, PAGES + "/new", TALK | {"name": "else/line"}).status_code == 422
    assert not Pipeline.objects.exists()
    post(client, PAGES + "/new", TALK)
    other = post(client, OWN + "/version", TALK | {"name": "acme/other"})
    assert (other.status_code, "this is of acme/line" in text(other)) == (422, True)


def test_only_members_look_and_only_some_publish(shop: Shop, client: Client) -> None:
    post(client, PAGES + "/new", TALK)
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    looking = signed_in(viewer)
    assert "You have read-only access" in text(looking.get(PAGES))
    assert "New version" not in text(looking.get(OWN))
    assert post(looking, OWN + "/version", TALK).status_code == 403
    assert looking.post(OWN + "/retire", {"confirmed": "1"}).status_code == 403
    stranger = User.objects.create_user("else@example.com")
    organisation_create(name="Else", slug="else", owner=stranger)
    other = signed_in(stranger)
    for url in (OWN, OWN + "/version", "/models/acme/line"):
        assert other.get(url).status_code == 404, url
    assert looking.get("/models/acme/line").status_code == 200


def test_everybodys_has_a_public_page_with_the_same_graph(client: Client) -> None:
    pipeline_apply(text=json.dumps(TALK | {"name": "all/line"}).encode(), organisation=None)
    page = text(Client().get("/models/all/line"))
    for said in ('id="stage-say"', "author/slug", "Nobody has called this version yet", "$0.02"):
        assert said in page, said
    assert "New version" not in page
    assert "/models/all/line" in text(client.get(PAGES))
    AIModel.objects.filter(name="author/slug").update(published=False)
    assert "not offered any more" in text(Client().get("/models/all/line"))
    Pipeline.objects.update(published=False)
    assert Client().get("/models/all/line").status_code == 404


def found(client: Client, query: str) -> list[str]:
    return [card.row.name for card in client.get(f"/models?{query}").context["pipelines"]]


def test_the_catalog_finds_them_beside_the_models(shop: Shop, client: Client) -> None:
    more = {"name": "all/line", "description": "Reads a résumé."}
    pipeline_apply(text=json.dumps(TALK | more).encode(), organisation=None)
    post(client, PAGES + "/new", TALK)
    assert found(client, "") == ["acme/line", "all/line"]
    assert found(Client(), "") == ["all/line"], "an organisation's own are shown to it alone"
    page = text(client.get("/models"))
    assert "Of Acme alone" in page
    assert page.index("author/slug") < page.index("all/line"), "models come first"
    for query in ("q=résumé+line", "q=AUTHOR", "q=al&view=table&sort=use"):
        assert "all/line" in found(client, query), query
    for query in ("q=reads+nothing", "q=input", "q=%25", "task=chat"):
        assert "all/line" not in found(client, query), query
    only = text(client.get("/models?q=résumé"))
    assert "all/line" in only
    assert "No models match" not in only
    assert "similar names" not in only
    Pipeline.objects.update(published=False)
    assert "No models match" in text(client.get("/models?q=résumé"))


def test_so_many_are_shown_and_a_search_finds_the_others(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketplace.storefront.browse import pipelines

    monkeypatch.setattr(pipelines, "SHOWN_MAX", 2)
    for name in ("all/a", "all/b", "all/c"):
        pipeline_apply(text=json.dumps(TALK | {"name": name}).encode(), organisation=None)
    assert found(client, "") == ["all/a", "all/b"]
    assert found(client, "q=all/c") == ["all/c"]


def test_the_page_shows_a_call_that_can_be_pasted(client: Client) -> None:
    asked = {"type": "object", "properties": {"x": {"type": "string", "examples": ["it's"]}}}
    pipeline_apply(
        text=json.dumps(TALK | {"name": "all/line", "input_schema": asked}).encode(),
        organisation=None,
    )
    answer = Client().get("/models/all/line")
    assert "/predictions/new?model=all/line" in text(answer)
    assert "it&#x27;s" in text(client.get("/predictions/new?model=all/line"))
    assert answer.context["example"] == r"""{"x": "it'\''s"}"""
