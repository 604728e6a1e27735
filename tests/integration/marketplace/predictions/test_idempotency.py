"""A prediction that is asked for twice under one key."""

from datetime import timedelta

import psycopg
from django.utils import timezone

from marketplace.inference.callers import Caller
from marketplace.inference.idempotency import LOCK_SPACE, key_number
from marketplace.predictions.models import Prediction
from marketplace.predictions.services import predictions_forget
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of
from tests.integration.marketplace.shop import Shop


def test_the_same_request_under_one_key_is_one_prediction(api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    first = api("POST", body=body, idempotency_key="k")
    again = api("POST", body=body, idempotency_key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = api("POST", body=body | {"priority": "batch"}, idempotency_key="k")
    assert error_of(other, 422)["code"] == "idempotency_mismatch"
    assert Prediction.objects.count() == 1


def test_while_the_first_is_being_taken_the_second_is_told_to_wait(
    shop: Shop, api: Api, by_admin: psycopg.Connection
) -> None:
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, key_id=api.key_id)
    lock = [LOCK_SPACE, key_number(Prediction, caller, "k")]
    by_admin.execute("SELECT pg_advisory_lock(%s, %s)", lock)
    refused = api("POST", body={"model": "author/slug", "input": CHAT}, idempotency_key="k")
    assert error_of(refused, 409)["code"] == "idempotency_in_flight"
    assert int(refused.headers["Retry-After"]) >= 1
    by_admin.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    taken = api("POST", body={"model": "author/slug", "input": CHAT}, idempotency_key="k")
    assert taken.status_code == 201


def test_a_key_is_its_callers_own(shop: Shop, api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    api("POST", body=body, idempotency_key="k")
    Api(shop.organisation)("POST", body=body, idempotency_key="k")
    assert Prediction.objects.count() == 2


def test_a_key_may_be_used_again_after_a_day(api: Api) -> None:
    body = {"model": "author/slug", "input": CHAT}
    api("POST", body=body, idempotency_key="k")
    predictions_forget(timezone.now() + timedelta(hours=25))
    api("POST", body=body, idempotency_key="k")
    assert Prediction.objects.count() == 2
