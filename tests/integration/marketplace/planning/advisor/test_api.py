"""The advisor's management API."""

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.planning.advisor import services
from marketplace.planning.advisor.question import Question
from tests.integration.marketplace.planning.advisor.yards import ASKED, member
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_any_member_asks_and_reads_what_the_organisation_asked(yard: Shop) -> None:
    client = member(yard)
    body = {"organisation": "acme", "question": ASKED, "check": False}
    made = client.post("/api/v1/advice", body, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["state"] == "answered"
    assert made.json()["answer"]["fleet"]["cost_usd"] >= 0.5
    kept = client.get("/api/v1/advice").json()["results"]
    assert [row["id"] for row in kept] == [made.json()["id"]]


def test_a_question_that_does_not_fit_names_its_field(yard: Shop) -> None:
    client = member(yard)
    body = {"organisation": "acme", "question": {**ASKED, "share": 2}}
    refused = client.post("/api/v1/advice", body, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "question.share"


def test_a_stranger_sees_and_asks_nothing(yard: Shop) -> None:
    advice = services.advice_make(
        organisation=yard.organisation, user=None, question=Question(**ASKED), check=False
    )
    stranger = User.objects.create_user("eve@example.com")
    organisation_create(name="Eve", slug="eve", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/api/v1/advice/{advice.pk}").status_code == 404
    assert client.get(f"/advisor/{advice.pk}").status_code == 404
    body = {"organisation": "acme", "question": ASKED}
    asked = client.post("/api/v1/advice", body, content_type="application/json")
    assert asked.status_code == 404
    assert Client().get("/advisor").status_code == 302
