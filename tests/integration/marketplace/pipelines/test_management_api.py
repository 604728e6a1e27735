"""Pipelines over the management API: defined, refused by place, published anew, and retired."""

import json
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import AIModel
from marketplace.pipelines import services
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.services import pipeline_apply
from marketplace.predictions.models import Prediction, PredictionStage, Status
from marketplace.predictions.stages.times import SAMPLE_MAX, stage_times
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.pipelines.test_pipelines import LINE, SAY, SCORE
from tests.integration.marketplace.shop import Shop, signed_in

URL = "/api/v1/pipelines"
OWN = URL + "/acme/line"


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def client(shop: Shop, db: None) -> Client:
    AIModel.objects.create(
        name="author/score",
        display_name="Score",
        task="tabular",
        tensors={
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "SCORE", "datatype": "FP32", "shape": [-1, 1]}],
        },
    )
    return signed_in(shop.owner)


def put(client: Client, url: str = URL, **body: Any) -> Any:
    asked = {"definition": LINE, "organisation": "acme"} | body
    return client.post(url, json.dumps(asked), content_type="application/json")


def fields(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400, answer.content
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def test_one_is_defined_with_its_graph_and_listed(client: Client) -> None:
    made = put(client)
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["name"], told["version"], told["organisation"]) == ("acme/line", 1, "acme")
    assert told["definition"]["stages"] == [SCORE, SAY]
    score, say = told["graph"]["stages"]
    assert (score["layer"], say["layer"]) == (1, 2)
    assert score["gives"] == [{"name": "SCORE", "kind": "array of array of number"}]
    (taken,) = say["takes"]
    assert (taken["source"], taken["kind"]) == ("score", "number")
    assert taken["place"] == "messages[0].content"
    assert [edge["source"] for edge in told["graph"]["outputs"]] == ["score", "say"]
    first, second = told["figures"]
    assert (first["cheapest"], first["time"], first["offered"]) == (None, None, True)
    assert second["cheapest"]["prompt_nano_per_million"] == 20_000_000
    assert client.get(OWN).json() == told
    (listed,) = client.get(URL).json()["results"]
    assert (listed["name"], "graph" in listed) == ("acme/line", False)
    assert client.get(URL + "?organisation=else").json()["results"] == []


def test_all_that_is_wrong_is_told_by_its_place_and_nothing_is_kept(client: Client) -> None:
    wrong = LINE | {
        "stages": [
            SCORE | {"input": {"Y": [[1, 2]]}},
            SAY | {"model": "author/none"},
            {"name": "vector", "model": "author/slug", "input": {"text": "x"}},
        ],
        "output": {"$from": "score.NONE"},
    }
    for url in (URL, URL + "/validate"):
        told = fields(put(client, url, definition=wrong))
        assert told.keys() == {
            "definition.stages[0].input",
            "definition.stages[1].model",
            "definition.stages[2].input",
            "definition.output",
        }
        assert told["definition.stages[1].model"] == "there is no model 'author/none'"
    early = LINE | {"stages": [SAY, SCORE | {"name": "say"}]}
    told = fields(put(client, definition=early))
    assert told.keys() == {
        "definition.stages[0].input.messages[0].content",
        "definition.stages[1].name",
        "definition.output.p",
    }
    assert fields(put(client, definition=LINE | {"stages": [{"name": "a"}]})) == {
        "definition.stages[0]": "Object missing required field `model`"
    }
    assert "definition.name" in fields(put(client, definition=LINE | {"name": "else/line"}))
    assert "definition" in fields(put(client, definition="line"))
    assert not Pipeline.objects.exists()


def test_a_check_says_the_graph_and_keeps_nothing(client: Client) -> None:
    answer = put(client, URL + "/validate")
    assert answer.status_code == 200, answer.content
    assert [stage["name"] for stage in answer.json()["stages"]] == ["score", "say"]
    assert not Pipeline.objects.exists()


def test_a_version_follows_another_and_what_is_retired_comes_back_by_one(client: Client) -> None:
    put(client)
    assert fields(put(client)) == {"definition.name": "acme/line is there: publish a version of it"}
    versions = OWN + "/versions"
    assert put(client, versions).status_code == 200
    changed = put(client, versions, definition=LINE | {"output": 1})
    assert (changed.status_code, changed.json()["version"]) == (201, 2)
    assert "definition.name" in fields(put(client, versions, definition=LINE | {"name": "acme/x"}))
    assert [row["version"] for row in client.get(versions).json()] == [2, 1]

    assert client.delete(OWN).status_code == 204
    assert client.get(OWN).json()["published"] is False
    again = put(client)
    assert (again.status_code, again.json()["version"]) == (201, 3)


def test_only_who_owns_it_may_change_it(shop: Shop, client: Client) -> None:
    put(client)
    looker = User.objects.create_user("looker@example.com")
    Membership.objects.create(organisation=shop.organisation, user=looker, role=Role.VIEWER)
    elsewhere = User.objects.create_user("else@example.com")
    organisation_create(name="Else", slug="else", owner=elsewhere)
    for user, seen, code in ((looker, 200, 403), (elsewhere, 404, 404)):
        other = signed_in(user)
        assert other.get(OWN).status_code == seen
        assert other.delete(OWN).status_code == code
        assert put(other, OWN + "/versions").status_code == code
        assert put(other).status_code == code
    everybodys = LINE | {"name": "all/line"}
    assert put(client, organisation=None, definition=everybodys).status_code == 403
    pipeline_apply(text=json.dumps(everybodys).encode(), organisation=None)
    assert signed_in(elsewhere).get(URL + "/all/line").status_code == 200
    assert signed_in(elsewhere).delete(URL + "/all/line").status_code == 403
    staff = signed_in(User.objects.create_user("staff@example.com", is_staff=True))
    assert staff.delete(URL + "/all/line").status_code == 204


def test_names_and_versions_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PIPELINES_MAX", 1)
    monkeypatch.setattr(services, "VERSIONS_MAX", 2)
    put(client)
    told = fields(put(client, definition=LINE | {"name": "acme/other"}))
    assert "there are 1 pipelines already" in told["definition.name"]
    assert put(client, OWN + "/versions", definition=LINE | {"output": 1}).status_code == 201
    told = fields(put(client, OWN + "/versions", definition=LINE | {"output": 2}))
    assert "has 2 versions" in told["definition.name"]


def called(shop: Shop, pipeline: Pipeline, *stages: tuple[str, float, float]) -> None:
    """A prediction that succeeded: each stage with its time in the queue and its own, in ms."""
    done = Prediction.objects.create(
        organisation=shop.organisation,
        account_id=shop.customer_account.pk,
        pipeline=pipeline,
        version="1",
        input_text="1",
        priority="interactive",
        state=JobState.SUCCEEDED,
    )
    for place, (name, queue_ms, predict_ms) in enumerate(stages):
        PredictionStage.objects.create(
            prediction=done,
            place=place,
            name=name,
            model_name="author/slug",
            state=Status.SUCCEEDED,
            queue_ms=queue_ms,
            predict_ms=predict_ms,
            cost_nano=10,
        )


def test_each_stage_has_its_share_of_the_time_of_real_calls(
    shop: Shop, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client)
    pipeline = Pipeline.objects.get()
    called(shop, pipeline, ("score", 10, 40), ("say", 50, 100))
    called(shop, pipeline, ("score", 0, 0), ("say", 0, 200))
    score, say = (stage["time"] for stage in client.get(OWN).json()["figures"])
    assert score == {
        "calls": 2,
        "queue_ms": 5,
        "predict_ms": 20,
        "cost_nano": 10,
        "share": 0.125,
    }
    assert say["share"] == 0.875
    assert SAMPLE_MAX > 1
    monkeypatch.setattr("marketplace.predictions.stages.times.SAMPLE_MAX", 1)
    assert stage_times(pipeline)["score"].share == 0
