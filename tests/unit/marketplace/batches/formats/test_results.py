"""Results are lines in OpenAI's shapes, and parts know which lines they have."""

import json

from hypothesis import given
from hypothesis import strategies as st

from marketplace.batches.formats.results import (
    Covered,
    Finished,
    answered,
    broken,
    error_of,
    ranges_of,
)


def test_an_answer_is_one_line_of_the_output_file() -> None:
    body = b'{\n  "choices": [ 1 ]\n}\n'
    found = answered(id_="batch_req_1", custom_id="a", status=200, request_id="r", body=body)
    assert not found.failed
    assert found.text.count(b"\n") == 1
    assert json.loads(found.text) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "r", "body": {"choices": [1]}},
        "error": None,
    }


def test_an_answer_with_another_status_is_for_the_error_file() -> None:
    body = b'{"error": {"code": "model_not_found", "message": "No."}}'
    found = answered(id_="1", custom_id="a", status=404, request_id="r", body=body)
    assert found.failed
    assert json.loads(found.text)["response"]["status_code"] == 404
    assert error_of(body, 404) == ("model_not_found", "No.")


def test_an_answer_that_is_not_json_is_an_error() -> None:
    found = answered(id_="1", custom_id="a", status=200, request_id="r", body=b"<html>")
    assert found.failed
    assert json.loads(found.text)["error"]["code"] == "invalid_answer"
    assert error_of(b"<html>", 502)[0] == "status_502"


def test_a_line_without_an_answer_says_why() -> None:
    received = json.loads(broken("1", "a", "batch_expired", "Too late.").text)
    assert received["response"] is None
    assert received["error"] == {"code": "batch_expired", "message": "Too late."}


def test_a_part_has_its_results_in_the_order_of_the_lines() -> None:
    part = Finished()
    for number in (9, 2, 1, 3):
        part.add(number, broken("", str(number), "x", "y"))
    assert part.ranges(failed=True) == [(1, 3), (9, 9)]
    assert [json.loads(text)["custom_id"] for text in part.texts(failed=True)] == list("1239")
    assert (part.count(failed=True), part.texts(failed=False)) == (4, [])


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_what_is_covered_is_what_the_ranges_of_all_parts_have(
    one: set[int], other: set[int]
) -> None:
    covered = Covered([*ranges_of(one), *ranges_of(other)])
    assert {number for number in range(62) if number in covered} == one | other
