"""Where the cost of a call goes into its answer."""

import json

import pytest

from router.contracts.cost import with_cost

USAGE = {"prompt_tokens": 3, "cost": 99}
LATE = {"choices": [{"text": 'she said "usage": {'}], "usage": USAGE, "timings": {"ms": [1]}}
EARLY = {"usage": USAGE, "choices": [{"usage": {"prompt_tokens": 1}}, 'a "usage"']}


@pytest.mark.parametrize("answer", [LATE, EARLY, {"usage": {}}])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
def test_the_cost_is_a_number_of_the_answers_own_usage(answer: dict, separators: tuple) -> None:
    told = with_cost(json.dumps(answer, separators=separators).encode(), 12_345)
    assert json.loads(told) == answer | {"usage": answer["usage"] | {"cost": 0.000012345}}
    assert b'"cost":0.000012345' in told, "exact, and without an exponent"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"usage":{"prompt_tokens":1}}]}',
        b'{"usage":null}',
        b'{"usage":3,"x":"usage"}',
        b'{"data":[]}',
        b'{"usage":{"prompt_tokens":NaN}}',
        b'["usage"]',
        b"",
    ],
)
def test_an_answer_without_a_usage_is_as_it_was(answer: bytes) -> None:
    assert with_cost(answer, 1) == answer
