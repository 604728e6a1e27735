"""The pages of predictions: the list, one as it goes on and at its end, and cancelling."""

import json
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.inference.callers import Caller
from marketplace.predictions.models import Event, Prediction
from marketplace.predictions.services import Asked, event_tell, prediction_create
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.shop import Shop, signed_in

CHAT = '{"messages":[{"role":"user","content":"Tell me of the sea"}]}'
SENTENCE = "The sea is wide <b>"
REQUEST_ID = UUID("01976d2c-0000-7000-8000-000000000001")


@pytest.fixture
def member(shop: Shop, db: None) -> Client:
    return signed_in(shop.owner)


@pytest.fixture
def prediction(shop: Shop, db: None) -> Prediction:
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, key_id=1)
    asked = Asked(model=shop.model, version="1", input_text=CHAT, priority="standard")
    return prediction_create(caller=caller, asked_by=None, asked=asked)[0]


def ended(prediction: Prediction, output: Any, **columns: Any) -> None:
    Prediction.objects.filter(pk=prediction.pk).update(
        state=JobState.SUCCEEDED,
        output_text=json.dumps(output),
        worker="fast-0",
        predict_ms=1_250.0,
        cost_nano=4_200_000,
        **columns,
    )


def page(client: Client, path: str, **headers: str) -> str:
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_leads_to_each_and_is_looked_at_again_while_one_moves(
    member: Client, prediction: Prediction
) -> None:
    assert "No predictions here" in page(member, "/predictions?state=failed")
    shown = page(member, "/predictions")
    assert f"/predictions/{prediction.uid}" in shown
    assert "every 2s" in shown
    ended(prediction, None)
    shown = page(member, "/predictions?state=done")
    assert "Succeeded" in shown
    assert "fast-0" in shown
    assert "every 2s" not in shown


def test_one_that_waits_says_what_is_before_it(member: Client, prediction: Prediction) -> None:
    shown = page(member, f"/predictions/{prediction.uid}")
    assert "Ahead in the queue" in shown
    assert "every 1s" in shown
    assert "Tell me of the sea" in shown


def test_one_that_runs_shows_what_has_come(member: Client, prediction: Prediction) -> None:
    Prediction.objects.update(state=JobState.RUNNING)
    for kind, words in (("start", []), ("output", ["An old "]), ("start", [])):
        event_tell(prediction, Event(kind), [chunk(word) for word in words])
    event_tell(prediction, Event.OUTPUT, [chunk("The "), chunk("sea ")])
    shown = page(member, f"/predictions/{prediction.uid}")
    assert '<p class="bubble">The sea </p>' in shown
    assert "An old" not in shown


def test_one_that_is_over_shows_its_text_and_where_it_ran(
    member: Client, prediction: Prediction
) -> None:
    message = {"role": "assistant", "content": SENTENCE}
    ended(prediction, {"choices": [{"index": 0, "message": message}]}, request_id=REQUEST_ID)
    shown = page(member, f"/predictions/{prediction.uid}")
    assert "The sea is wide &lt;b&gt;" in shown
    assert "fast-0" in shown
    assert "$0.0042" in shown
    assert "every 1s" not in shown
    again = member.get(f"/predictions/{prediction.uid}", headers={"HX-Request": "true"})
    assert again.headers["HX-Refresh"] == "true"


@pytest.mark.parametrize(
    ("output", "texts"),
    [
        ({"SCORE": [[0.25], [0.75]] * 30}, ["<caption", "0.25", "10 more rows"]),
        ({"data": [{"embedding": [0.5] * 256}]}, ["embedding[0]", "… (256)"]),
        ({"choices": [{"text": "Once upon"}]}, ["Once upon"]),
        ({"another": {"shape": 1}}, ["&quot;another&quot;"]),
        (None, ["No output."]),
    ],
)
def test_every_kind_of_output_is_shown(
    member: Client, prediction: Prediction, output: Any, texts: list[str]
) -> None:
    ended(prediction, output)
    shown = page(member, f"/predictions/{prediction.uid}")
    for text in texts:
        assert text in shown


def test_a_member_who_may_call_cancels_it(member: Client, prediction: Prediction) -> None:
    response = member.post(f"/predictions/{prediction.uid}/cancel")
    assert response.status_code == 302
    assert "Cancelled" in page(member, f"/predictions/{prediction.uid}")


def test_a_viewer_reads_and_cancels_nothing(shop: Shop, prediction: Prediction) -> None:
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(user=viewer, organisation=shop.organisation, role=Role.VIEWER)
    client = signed_in(viewer)
    path = f"/predictions/{prediction.uid}"
    assert f"{path}/cancel" not in page(client, path)
    assert client.post(f"{path}/cancel").status_code == 403


def test_another_organisations_is_not_there(prediction: Prediction) -> None:
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/predictions/{prediction.uid}").status_code == 404
    assert client.post(f"/predictions/{prediction.uid}/cancel").status_code == 404
    assert str(prediction.uid) not in page(client, "/predictions")


def chunk(word: str) -> str:
    choice = {"index": 0, "delta": {"content": word}}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice]})


def test_one_is_asked_for_with_a_form_that_says_what_is_wrong(shop: Shop, member: Client) -> None:
    new = "/predictions/new"
    filled = member.get(new, {"model": shop.model.name}).content.decode()
    assert shop.model.name in filled
    assert "messages" in filled
    for model, given, said in (
        (shop.model.name, "{", "This is no JSON"),
        (shop.model.name, '{"messages": NaN}', "NaN is no number"),
        (shop.model.name, "[" * 100_000, "This is no JSON"),
        (shop.model.name, f'{{"messages": {"[" * 100}{"]" * 100}}}', "32 deep"),
        (shop.model.name, CHAT.replace("Tell", "\\ud83d"), "half of a surrogate pair"),
        (shop.model.name, CHAT[:-1] + ',"top_p":1e999}', "A number is too large"),
        (shop.model.name, "[]", "object"),
        (shop.model.name, "", "This field is required"),
        ("author/none", CHAT, "author/none&#x27; does not exist"),
    ):
        answer = member.post(new, {"model": model, "input": given})
        assert (answer.status_code, said in answer.content.decode()) == (422, True), said
    assert not Prediction.objects.exists()
    made = member.post(new, {"model": shop.model.name, "input": CHAT})
    row = Prediction.objects.get()
    assert made.url == f"/predictions/{row.uid}"
    assert (row.user_id, row.key_id, row.priority) == (shop.owner.pk, 0, "interactive")
    assert row.input == json.loads(CHAT)


def test_a_viewer_is_offered_no_form(shop: Shop, db: None) -> None:
    viewer = User.objects.create_user("looks@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    looking = signed_in(viewer)
    assert "/predictions/new" not in page(looking, "/predictions")
    assert looking.get("/predictions/new").status_code == 403
    assert Client().get("/predictions/new").status_code == 302
