"""A pipeline over the API and the command: defined, listed, asked for, run, and shown."""

import json
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.models import AIModel
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.services import pipeline_apply
from marketplace.predictions.asking.called import called
from marketplace.predictions.models import PredictionStage
from marketplace.predictions.running import job as running
from marketplace.usage.models import UsageEvent
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.predictions.asking import Api, error_of, run_one
from tests.integration.marketplace.predictions.routers import REQUEST_ID, FakeRouter, fake_router
from tests.integration.marketplace.shop import Shop, signed_in

SENTENCE = "The sea is wide"
SCORE = {"name": "score", "model": "author/score", "input": {"X": [{"$from": "input.row"}]}}
SAY = {
    "name": "say",
    "model": "author/slug",
    "input": {
        "messages": [{"role": "user", "content": {"$text": ["p=", {"$from": "score.SCORE[0][0]"}]}}]
    },
}
LINE = {
    "name": "acme/line",
    "stages": [SCORE, SAY],
    "output": {
        "p": {"$from": "score.SCORE[0][0]"},
        "said": {"$from": "say.choices[0].message.content"},
    },
}


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    with fake_router() as found:
        yield found


@pytest.fixture
def api(shop: Shop, db: None) -> Api:
    AIModel.objects.create(
        name="author/score",
        display_name="Score",
        task="tabular",
        tensors={"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]},
    )
    return Api(shop.organisation)


def define(shop: Shop | None = None, **changed: Any) -> Pipeline:
    text = json.dumps(LINE | changed).encode()
    return pipeline_apply(text=text, organisation=shop and shop.organisation)[0]


def ask(api: Api, **body: Any) -> Any:
    return api.ask(**{"model": "acme/line", "input": {"row": [1, 2]}} | body)


def test_its_stages_are_calls_of_their_own_and_one_prediction(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    define()
    begun = ask(api)
    assert begun.status_code == 201, begun.content
    assert (begun.json()["version"], begun.json()["stages"]) == ("1", [])
    uid = begun.json()["id"]
    run_one()

    ended = api("GET", uid).json()
    assert (ended["status"], ended["model"]) == ("succeeded", "acme/line"), ended["error"]
    assert ended["output"] == {"p": 0.25, "said": SENTENCE}
    score, say = ended["stages"]
    assert score == {
        "name": "score",
        "model": "author/score",
        "status": "succeeded",
        "error": None,
        "worker": "fast-0",
        "pool": "fast",
        "request_id": REQUEST_ID,
        "metrics": {"predict_time": 0.04, "queue_time": 0.003, "cost": 9e-9},
        "output": {"SCORE": [[0.25], [0.75]]},
    } | {"metrics": score["metrics"]}
    assert score["metrics"]["cost"] == 9e-9
    assert say["metrics"]["cost"] == 4.2e-6
    assert ended["metrics"]["cost"] == 4.209e-6
    assert ended["metrics"]["predict_time"] == 1.29
    assert ended["request_id"] is None
    for name in ("score", "say"):
        assert f"Stage {name} begins" in ended["logs"]
    assert ended["logs"].count("worker fast-0 of the pool fast") == 2

    first, second = (headers for headers, _ in router.calls)
    assert first["idempotency-key"] == f"prediction:{uid}:score"
    assert second["idempotency-key"] == f"prediction:{uid}:say"
    trace = uuid.UUID(uid).hex
    assert first["traceparent"] == second["traceparent"] == f"00-{trace}-{trace[-16:]}-01"
    assert router.calls[1][1]["messages"][0]["content"] == "p=0.25"
    (listed,) = api("GET").json()["results"]
    assert listed["metrics"]["cost"] == 4.209e-6


def test_a_stage_that_is_refused_ends_it_and_what_was_answered_is_kept(
    api: Api, router: FakeRouter
) -> None:
    define()
    uid = ask(api).json()["id"]
    AIModel.objects.filter(name="author/slug").update(published=False)
    run_one()
    ended = api("GET", uid).json()
    assert ended["status"] == "failed"
    assert ended["error"] == "Stage say: author/slug is not offered any more"
    score, say = ended["stages"]
    assert (score["status"], score["output"]) == ("succeeded", {"SCORE": [[0.25], [0.75]]})
    assert (say["status"], say["metrics"]["cost"]) == ("failed", None)
    assert ended["metrics"]["cost"] == 9e-9
    assert len(router.calls) == 1


def test_a_deadline_ends_the_stage_that_runs(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    define()
    uid = ask(api).json()["id"]
    router.may_end.clear()
    monkeypatch.setattr(running, "left_s", lambda _: 0.0 if len(router.calls) > 1 else 60.0)
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], ended["output"]) == ("canceled", None)
    assert [stage["status"] for stage in ended["stages"]] == ["succeeded", "canceled"]
    assert router.cancelled == [f"prediction:{uid}:say"]
    assert "Its deadline passed." in ended["logs"]


def test_what_it_cannot_take_is_refused_before_anything_is_kept(api: Api) -> None:
    define(input_schema={"type": "object", "required": ["row"]})
    error = error_of(ask(api, input={}), 422)
    assert (error["param"], error["message"]) == ("input.row", "row is missing")
    error = error_of(ask(api, input={"row": [1, 2, 3]}), 422)
    assert error["message"].startswith("stage score: X has the shape [1, 3]")
    AIModel.objects.filter(name="author/slug").update(published=False)
    assert error_of(ask(api), 422)["message"] == "stage say: author/slug is not offered any more"
    assert api("GET").json()["results"] == []


def test_what_was_asked_of_a_version_runs_as_it_was(api: Api, router: FakeRouter) -> None:
    define()
    uid = ask(api).json()["id"]
    assert define(output="changed").version == 2
    assert define(output="changed").version == 2
    assert error_of(ask(api, version="1"), 404)["code"] == "model_not_found"
    call_command("pipelines", "withdraw", "acme/line", stdout=StringIO())
    assert error_of(ask(api), 404)["code"] == "model_not_found"
    run_one()
    ended = api("GET", uid).json()
    assert (ended["version"], ended["output"]["said"]) == ("1", SENTENCE)


def test_an_organisations_own_is_its_own(shop: Shop, api: Api) -> None:
    define(shop)
    stranger = Api(
        organisation_create(
            name="Else", slug="else", owner=User.objects.create_user("else@example.com")
        )
    )
    (listed,) = api("GET", "/v1/pipelines").json()["data"]
    assert (listed["id"], listed["is_own"]) == ("acme/line", True)
    assert listed["stages"][0] == SCORE
    assert stranger("GET", "/v1/pipelines").json()["data"] == []
    assert error_of(ask(stranger), 404)["code"] == "model_not_found"


def test_a_model_that_comes_later_takes_no_name_of_a_pipeline(shop: Shop, api: Api) -> None:
    """What the organisation puts in would go to whoever has named a model so."""
    define(shop)
    model = AIModel.objects.create(name="acme/line", display_name="Line", task="chat")
    mine = called("acme/line", "", shop.organisation.pk)
    assert (mine.pipeline is not None, mine.model) == (True, None)
    rival = organisation_create(
        name="Rival", slug="rival", owner=User.objects.create_user("rival@example.com")
    )
    assert called("acme/line", "", rival.pk).model == model


def test_the_command_defines_and_lists(shop: Shop, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "line.json"
    file.write_text(json.dumps(LINE))

    def said(*words: str) -> str:
        out = StringIO()
        call_command("pipelines", *words, stdout=out)
        return out.getvalue()

    assert said("apply", str(file), "--org", "acme") == "acme/line is defined, version 1\n"
    assert said("apply", str(file), "--org", "acme") == "acme/line is unchanged, version 1\n"
    assert said("list") == "acme/line\tversion 1\tauthor/score → author/slug\n"
    with pytest.raises(CommandError, match="somebody else's"):
        said("apply", str(file))
    for name, why in (("author/slug", "is a model"), ("other/line", "begin with acme/")):
        file.write_text(json.dumps(LINE | {"name": name}))
        with pytest.raises(CommandError, match=why):
            said("apply", str(file), "--org", "acme")
    with pytest.raises(CommandError, match="there is no pipeline"):
        said("withdraw", "no/such")
    with pytest.raises(CommandError, match="No such file"):
        said("apply", str(tmp_path / "none"))


def test_its_page_shows_the_stages(shop: Shop, api: Api, router: FakeRouter) -> None:
    define()
    uid = ask(api).json()["id"]
    client = signed_in(shop.owner)
    assert "No stage has started yet." in client.get(f"/predictions/{uid}").content.decode()
    run_one()
    shown = client.get(f"/predictions/{uid}").content.decode()
    for said in ("score", "author/score", "author/slug", SENTENCE, "Stages"):
        assert said in shown
    assert shown.count("fast-0</span>") == 4  # In the trace and in the table.
    assert "acme/line" in client.get("/predictions").content.decode()
    assert shown.count('class="bar-stream"') == 2


def test_the_page_of_a_stages_call_shows_all_stages_as_one_trace(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    define()
    uid = ask(api).json()["id"]
    run_one()
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=1_000,
        )
    )
    event = UsageEvent.objects.get()
    PredictionStage.objects.filter(name="say").update(request_id=event.pk)
    client = signed_in(shop.owner)
    shown = client.get(f"/usage/{event.pk}").content.decode()
    for said in (
        "one of 2 stages of a call of acme/line",
        uuid.UUID(uid).hex,
        "<strong>say</strong>",
    ):
        assert said in shown, said
    assert f"/predictions/{uid}" in shown
    PredictionStage.objects.update(request_id=None)
    assert "Part of a pipeline" not in client.get(f"/usage/{event.pk}").content.decode()
