"""Every operation of the management API answers as its schema says; nothing is a 500."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.middleware.csrf import _get_new_csrf_string
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from marketplace.accounts.models import User
from marketplace.config.errors.refusals import PROBLEM_TYPE
from marketplace.routing.models import PolicyKind
from marketplace.routing.services import policy_publish
from tests.examples import examples
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.api_operations import operations, schema
from tests.integration.marketplace.shop import open_shop

pytestmark = pytest.mark.django_db

EXAMPLES_MAX = examples(3)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """As Django's own test client has it: the test's transaction outlives a request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(scope="module")
def acme(kept_database: None) -> Acme:
    return open_acme(open_shop())


@pytest.fixture(scope="module")
def headers(acme: Acme) -> dict[str, str]:
    """Signed in as an owner who is of the staff: nothing is refused for who asks."""
    owner = acme.shop.owner
    User.objects.filter(pk=owner.pk).update(is_staff=True)
    client, token = Client(), _get_new_csrf_string()
    client.force_login(owner)
    session = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    cookies = {
        django_settings.SESSION_COOKIE_NAME: session,
        django_settings.CSRF_COOKIE_NAME: token,
    }
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {"Cookie": cookie, "X-CSRFToken": token}


@pytest.fixture(scope="module")
def rows(acme: Acme) -> dict[str, object]:
    """What a path names, by resource: of the organisation, and of the catalog."""
    shop = acme.shop
    return {name: value for name, (value, _) in acme.rows.items()} | {
        "models": shop.model.name,
        "providers": shop.provider.slug,
        "pools": shop.worker.pool.name,
        "workers": shop.worker.worker_id,
        "deployments": shop.deployment.pk,
        "offers": shop.deployment.offers.get().pk,
        "policies": policy_publish(model=shop.model, kind=PolicyKind.LATE_BINDING).pk,
    }


def test_the_schema_is_made_without_a_doubt() -> None:
    GENERATOR_STATS.reset()
    schema.__wrapped__()
    assert not GENERATOR_STATS, [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]


def test_every_operation_says_what_a_refusal_looks_like() -> None:
    for path, described in schema()["paths"].items():
        for operation in described.values():
            for code, response in operation["responses"].items():
                if not code.startswith("2") and not code.startswith("3"):
                    assert response["content"].keys() == {PROBLEM_TYPE}, (path, code)
            assert {"4XX", "5XX"} <= operation["responses"].keys(), path


@pytest.fixture(scope="module")
def described() -> Any:
    """The API as schemathesis has it, served as in production."""
    made = schemathesis.openapi.from_dict(schema())
    made.app = get_wsgi_application()
    return made


RESOURCES = sorted({operation.resource for operation in operations()})


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_operation_answers_as_it_is_described(
    resource: str, described: Any, headers: dict[str, str], rows: dict[str, object]
) -> None:
    for operation in operations():
        if operation.resource == resource:
            row = rows.get(resource) if operation.is_of_one_row else None
            _try(described[operation.path][operation.method], headers, row)


def _try(operation: Any, headers: dict[str, str], row: object) -> None:
    """Call it with values of all kinds, on this ``row`` where it is of one that is known."""
    cases = operation.as_strategy()
    if "{name}" in operation.path:
        # A name with a slash in it, of which schemathesis makes none.
        cases = st.builds(lambda: operation.Case(path_parameters={"name": ""}))
    if operation.method != "get":
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES_MAX,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def answers(case: Any) -> None:
        if row is not None:
            name = next(iter(case.path_parameters))
            case.path_parameters |= {name: str(row)}
        with transaction.atomic():
            case.call_and_validate(headers=headers, checks=CHECKS)
            transaction.set_rollback(True)

    answers()
