"""The SDK's errors are those of the router and of the marketplace, by their codes."""

import ast
from collections.abc import Iterator

import pytest
from waypost import errors
from waypost.cli.exits import STATUSES, status_of
from waypost.errors import BY_CODE, BY_STATUS, ApiError, error_in_stream, error_of

from marketplace.inference.errors import CODES
from router.domain.errors import CallError
from tests.architecture.pages import ROOT


def router_errors(base: type[CallError] = CallError) -> Iterator[type[CallError]]:
    for error in base.__subclasses__():
        if error.__module__.startswith("router."):
            yield error
            yield from router_errors(error)


def codes_of_jobs() -> set[str]:
    """Every ``code`` that the apps behind ``/v1/`` give, by their sources."""
    found = set()
    for app in ("batches/api.py", "batches/services.py", "predictions/api.py"):
        for node in ast.walk(ast.parse((ROOT / "marketplace" / app).read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code":
                found |= {node.value.value} if isinstance(node.value, ast.Constant) else set()
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_again":
                found |= {node.args[1].value} if isinstance(node.args[1], ast.Constant) else set()
    return {code for code in found if isinstance(code, str)}


@pytest.mark.parametrize("theirs", list(router_errors()), ids=lambda error: error.__name__)
def test_every_error_of_the_router_has_its_class(theirs: type[CallError]) -> None:
    mine = BY_CODE[theirs.code]
    names = {error.__name__ for error in router_errors() if error.code == theirs.code}
    assert mine.__name__ in names
    assert issubclass(mine, BY_STATUS[theirs.status])


def test_no_code_is_made_up() -> None:
    given = {error.code for error in router_errors()} | codes_of_jobs() | set(CODES.values())
    # Quoted from a worker, and from the service that keeps files.
    assert set(BY_CODE) - given == {"context_length_exceeded", "files_quota_exceeded"}


def test_every_code_of_files_batches_and_predictions_has_a_class() -> None:
    found = codes_of_jobs()
    assert {"file_in_use", "prediction_over", "queue_full"} <= found
    assert found <= set(BY_CODE)


@pytest.mark.parametrize(
    ("body", "kind", "text", "param"),
    [
        (
            {"error": {"message": "no such", "code": "model_not_found", "param": "model"}},
            errors.ModelUnknown,
            "404 model_not_found: model: no such (try again in 3 s; request r)",
            "model",
        ),
        ({"error": "shape"}, errors.NotFound, "404: shape (try again in 3 s; request r)", None),
        (
            {"title": "Bad", "errors": [{"field": "question.scale", "message": "too large"}]},
            errors.NotFound,
            "404: question.scale: too large (try again in 3 s; request r)",
            "question.scale",
        ),
        (
            {"title": "Bad", "detail": "it is"},
            errors.NotFound,
            "404: it is (try again in 3 s; request r)",
            None,
        ),
        ("<html>", errors.NotFound, "404: <html> (try again in 3 s; request r)", None),
        (None, errors.NotFound, "404: None (try again in 3 s; request r)", None),
    ],
)
def test_an_answer_of_any_shape_is_read(
    body: object, kind: type[ApiError], text: str, param: str | None
) -> None:
    found = error_of(404, body, request_id="r", retry_after_s=3.0)
    assert type(found) is kind
    assert (str(found), found.param, found.status) == (text, param, 404)


def test_an_unknown_code_is_the_class_of_its_status_and_an_unknown_status_of_its_hundred() -> None:
    new = {"error": {"message": "m", "code": "brand_new"}}
    assert type(error_of(402, new)) is errors.PaymentRequired
    assert error_of(402, new).given_code == "brand_new"
    assert type(error_of(418, new)) is errors.BadRequest
    assert type(error_of(599, new)) is errors.ServiceFailed


def test_an_error_inside_a_stream_has_the_status_that_its_code_has() -> None:
    found = error_in_stream({"message": "m", "code": "credit_used_up"}, request_id="r")
    assert (type(found), found.status) == (errors.CreditUsedUp, 402)


def test_every_error_has_an_exit_status() -> None:
    for kind in {*BY_CODE.values(), *BY_STATUS.values()}:
        assert status_of(kind("m", status=kind.statuses[0])) > 2
    assert status_of(errors.TimedOut("m")) == 10
    assert status_of(KeyError()) == 1
    assert len({kind for kind, _, _ in STATUSES}) == len(STATUSES)
