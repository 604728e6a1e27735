"""A batch's file is checked line by line, and says what is wrong where."""

import io
import json
from typing import Any

import pytest

from marketplace.batches.formats import lines
from marketplace.batches.formats.lines import Checked, Models, endpoint_is_served, numbered
from marketplace.presets.models import Preset

CHAT = "/v1/chat/completions"
INFER = "/v2/models/author/table/infer"
TASKS = {"author/chat": "chat", "author/vectors": "embeddings", "author/table": "tabular"}
PRESETS = {
    "brief": Preset(name="brief", model="author/chat:floor"),
    "bare": Preset(name="bare", system="Be brief."),
    "vectors": Preset(name="vectors", model="author/vectors"),
}


def line(**changes: Any) -> dict[str, Any]:
    body = {"model": "author/chat", "messages": []}
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": body, **changes}


def checked(*texts: object, endpoint: str = CHAT, forbidden: str = "") -> Checked:
    file = io.BytesIO(
        b"".join(
            (text if isinstance(text, bytes) else json.dumps(text).encode()) + b"\n"
            for text in texts
        )
    )
    callable_ = {name: task for name, task in TASKS.items() if name != forbidden}
    found = Checked(endpoint, Models(endpoint, callable_, frozenset({forbidden}), PRESETS))
    for number, text in numbered(file):
        if not found.add(number, text):
            break
    found.end()
    return found


def test_a_file_that_is_right_has_no_errors_and_tells_its_models() -> None:
    floor, fastest = (
        line(custom_id=wish, body={"model": f"author/chat:{wish}", "messages": []})
        for wish in ("floor", "fastest")
    )
    found = checked(line(), b"", floor, fastest)
    assert (found.errors, found.lines, found.models.named) == ([], 3, {"author/chat"})


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("auto", "auto"),
        ("auto:floor", "auto"),
        ("@preset/brief", "author/chat"),
        ("author/chat@preset/bare", "author/chat"),
        ("auto@preset/brief", "auto"),
    ],
)
def test_a_line_may_name_what_stands_for_a_model(name: str, model: str) -> None:
    found = checked(line(body={"model": name, "messages": []}), forbidden="author/vectors")
    assert (found.errors, found.models.named) == ([], {model})


def test_an_endpoint_of_a_model_needs_none_in_the_lines() -> None:
    found = checked(line(url=INFER, body={"inputs": []}), endpoint=INFER)
    assert (found.errors, found.models.named) == ([], {"author/table"})


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None),
        (line(custom_id=None), "invalid_custom_id", "custom_id"),
        (line(custom_id=""), "invalid_custom_id", "custom_id"),
        (line(custom_id="x" * 257), "invalid_custom_id", "custom_id"),
        (line(custom_id="first"), "duplicate_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url="/v1/embeddings"), "mismatched_url", "url"),
        (line(body=[]), "invalid_body", "body"),
        (line(body={"model": "author/chat", "stream": True}), "invalid_body", "body.stream"),
        (line(body={}), "invalid_model", "body.model"),
        (line(body={"model": "author/none"}), "model_not_found", "body.model"),
        (line(body={"model": "author/secret"}), "model_not_allowed", "body.model"),
        (line(body={"model": "author/vectors"}), "invalid_model", "body.model"),
        (line(body={"model": "@preset/none"}), "preset_not_found", "body.model"),
        (line(body={"model": "@preset/bare"}), "invalid_model", "body.model"),
        (line(body={"model": "@preset/vectors"}), "invalid_model", "body.model"),
        (line(body={"model": "author/secret@preset/bare"}), "model_not_allowed", "body.model"),
    ],
)
def test_each_fault_has_its_code_and_its_line(wrong: object, code: str, param: str | None) -> None:
    good = line(custom_id="first"), line(custom_id="last")
    found = checked(good[0], wrong, good[1], forbidden="author/secret")
    assert [(error.code, error.line, error.param) for error in found.errors] == [(code, 2, param)]
    assert found.errors[0].message


def test_a_path_names_a_model_itself() -> None:
    infer = "/v2/models/author/auto/infer"
    found = checked(line(url=infer, body={"inputs": []}), endpoint=infer)
    assert [error.code for error in found.errors] == ["model_not_found"]


def test_an_empty_file_says_so() -> None:
    assert [(error.code, error.line) for error in checked(b"", b" ").errors] == [
        ("empty_file", None)
    ]


def test_a_line_that_is_too_long_is_one_error_and_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 200)
    found = checked(line(body={"model": "author/chat", "x": "y" * 999}), line())
    assert [(error.code, error.line) for error in found.errors] == [("line_too_long", 1)]
    assert found.lines == 2


def test_lines_beyond_the_bound_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINES_MAX", 2)
    found = checked(*(line(custom_id=str(n)) for n in range(9)))
    assert [(error.code, error.line) for error in found.errors] == [("too_many_lines", 3)]


def test_models_beyond_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MODELS_MAX", 0)
    assert [error.code for error in checked(line()).errors] == ["too_many_models"]


def test_after_enough_errors_the_rest_is_not_read() -> None:
    found = checked(*[b"{"] * 200)
    assert (len(found.errors), found.lines) == (lines.ERRORS_SHOWN, lines.ERRORS_SHOWN)


def test_a_message_is_short_whatever_the_line_says() -> None:
    found = checked(line(method="x" * 9_999))
    assert len(found.errors[0].message) == lines.MESSAGE_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("endpoint", "served"),
    [
        (CHAT, True),
        ("/v1/completions", True),
        ("/v1/embeddings", True),
        (INFER, True),
        ("/v2/models/author/table/versions/3/infer", True),
        ("/v1/models", False),
        ("/v2/models/table/infer", False),
        ("/v1/batches", False),
        (f"{INFER}/../x", False),
    ],
)
def test_what_batches_may_call(endpoint: str, served: bool) -> None:
    assert endpoint_is_served(endpoint) is served
