"""Who may read a prediction, and lists of them."""

import uuid

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from tests.integration.marketplace.predictions.asking import Api, error_of


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_organisations_prediction_is_not_there(api: Api, method: str) -> None:
    uid = api.ask().json()["id"]
    other = organisation_create(
        name="Other", slug="other", owner=User.objects.create_user("o@example.com")
    )
    path = {"GET": ["", "/stream"], "POST": ["/cancel"]}[method]
    for end in path:
        error_of(Api(other)(method, uid + end), 404)
    assert Api(other)("GET").json()["results"] == []


@pytest.mark.parametrize("uid", ["x", "00000000-0000-0000-0000-000000000000", "%00"])
def test_an_invalid_id_is_not_found(api: Api, uid: str) -> None:
    response = api("GET", uid)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


def test_a_stranger_is_not_let_in(db: None) -> None:
    for path in ("/v1/predictions", f"/v1/predictions/{uuid.uuid4()}"):
        error_of(Client().get(path), 401)


def test_a_list_has_pages_the_newest_first(api: Api) -> None:
    ids = [api.ask().json()["id"] for _ in range(3)]
    first = api("GET", "/v1/predictions?page_size=2").json()
    assert [result["id"] for result in first["results"]] == [ids[2], ids[1]]
    assert "input" not in first["results"][0]
    path = first["next"].partition("testserver")[2]
    second = api("GET", path).json()
    assert [result["id"] for result in second["results"]] == [ids[0]]
    assert second["next"] is None
    error_of(api("GET", "/v1/predictions?cursor=oops"), 404)
