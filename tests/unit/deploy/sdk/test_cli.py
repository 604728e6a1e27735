"""The command line: what it prints where, its exit statuses, and its settings."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from waypost import Client
from waypost.cli import app as cli_app
from waypost.cli import settings
from waypost.cli.main import main
from waypost.config import Settings, settings_read, settings_write

from tests.unit.deploy.sdk.service import SETTINGS, Service, broken, error, events, said
from tests.unit.deploy.sdk.test_clients import BATCH, CHAT, COMPLETED, PREDICTION, delta

Say = Callable[..., int]


@pytest.fixture
def waypost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Runs a command before a service; gives its exit status."""
    for name in ("API_KEY", "BASE_URL", "MANAGEMENT_URL", "SESSION"):
        monkeypatch.delenv(f"WAYPOST_{name}", raising=False)
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "kept.json"))

    def say(service: Service, *words: str, stdin: str = "") -> int:
        def client(**given: Any) -> Client:
            # Without the pauses between tries.
            given.pop("retries", None)
            wanted = {name: value for name, value in given.items() if value is not None}
            transport = httpx.MockTransport(service)
            return Client(**{**SETTINGS, **wanted, "transport": transport})

        for module in (cli_app, settings):
            monkeypatch.setattr(module, "Client", client)
        monkeypatch.setattr(sys, "argv", ["waypost", *words])
        monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return say


def test_an_answer_goes_to_stdout_and_what_it_cost_to_stderr(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = {"choices": [], "usage": CHAT["usage"]}
    service = Service([events(delta("Hel"), delta("lo."), usage, "[DONE]")])
    assert waypost(service, "run", "a/b", "Hi", "--sort", "price") == 0
    told = capsys.readouterr()
    assert told.out == "Hello.\n"
    assert "1 + 2 tokens" in told.err
    assert json.loads(service.asked[0].content)["provider"] == {"sort": "price"}


def test_a_prompt_is_read_from_stdin(waypost: Say, capsys: pytest.CaptureFixture[str]) -> None:
    service = Service([said(200, CHAT)])
    assert waypost(service, "run", "a/b", "-", "--json", stdin="piped") == 0
    assert json.loads(service.asked[0].content)["messages"][0]["content"] == "piped"
    assert json.loads(capsys.readouterr().out) == CHAT


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (error(401, "invalid_api_key"), 3, "401 invalid_api_key: so it is"),
        (error(402, "insufficient_credit"), 4, "402 insufficient_credit"),
        (error(403, "not_allowed"), 3, "403"),
        (error(404, "model_not_found"), 5, "404"),
        (error(422, "invalid_request"), 6, "422"),
        (error(429, "rate_limited", retry_after="900"), 7, "try again in 900 s"),
        (error(503, "no_eligible_worker"), 8, "503"),
        (broken(httpx.ReadTimeout), 10, "sent, but the answer did not come"),
        (events(delta("Hel")), 10, "the stream ended before its end"),
        (lambda _: httpx.Response(200, content=b"data: <html>\n\n"), 11, "no JSON"),
    ],
)
def test_each_kind_of_error_is_one_line_and_an_exit_status(
    waypost: Say, capsys: pytest.CaptureFixture[str], answer: Any, status: int, says: str
) -> None:
    assert waypost(Service([answer]), "run", "a/b", "Hi") == status
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert "Traceback" not in told


def test_a_router_that_is_away_is_said_after_the_last_try(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service([broken(httpx.ConnectError)] * 3)
    assert waypost(service, "models") == 9
    assert "waypost: nothing was sent: http://router/v1/models" in capsys.readouterr().err


def test_a_table_of_models_has_prices_per_million_and_no_styles_of_others(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {
        "id": "a/[red]b[/red]",
        "context_length": 8192,
        "pricing": {"prompt": "0.00000015", "completion": "0.0000006", "request": "0"},
    }
    assert waypost(Service([said(200, {"data": [model]})]), "models") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == ["a/[red]b[/red]", "8,192", "0.15", "0.6", "–"]


@pytest.mark.parametrize(
    ("tensors", "says"),
    [({"amuont": [1.5]}, "amuont"), ({"amount": [[1.5], [2.5, 3.5]]}, "ragged")],
)
def test_tensors_that_the_model_does_not_take_are_one_line(
    waypost: Say,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tensors: dict[str, Any],
    says: str,
) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(tensors))
    inputs = [{"name": "amount", "datatype": "FP32", "shape": [-1, 1]}]
    service = Service([said(200, {"name": "a/b", "inputs": inputs, "outputs": []})])
    assert waypost(service, "run", "a/b", "--tensors", str(path)) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert "Traceback" not in told


def test_an_input_that_is_no_json_is_one_line(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waypost(Service([]), "predict", "a/b", '{"a": NaN}') == 2
    told = capsys.readouterr().err
    assert "not JSON compliant" in told
    assert told.count("\n") == 1


# --- presets ----------------------------------------------------------------------------------

ONE = said(200, {"results": [{"slug": "acme"}], "next": None})
BRIEF = {"id": 7, "name": "brief", "version": 2, "model": "a/[b]b", "system": "Be brief."}
BRIEF |= {"parameters": {"max_tokens": 9}, "retired": False}
LISTED = said(200, {"results": [BRIEF], "next": None})


def test_presets_are_listed_shown_saved_and_retired(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waypost(Service([LISTED]), "presets", "list", "--org", "acme") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["brief", "2", "a/[b]b"]
    assert waypost(Service([ONE, LISTED]), "presets", "show", "brief") == 0
    assert '{"max_tokens": 9}' in capsys.readouterr().out
    service = Service([ONE, said(201, BRIEF)])
    words = ("--model", "auto", "--parameters", '{"max_tokens": 9}', "--json")
    assert waypost(service, "presets", "save", "brief", *words) == 0
    assert json.loads(capsys.readouterr().out) == BRIEF
    assert json.loads(service.asked[1].content) == {
        "organisation": "acme",
        "name": "brief",
        "model": "auto",
        "system": "",
        "parameters": {"max_tokens": 9},
    }
    service = Service([LISTED, lambda _: httpx.Response(204)])
    assert waypost(service, "presets", "retire", "brief", "--org", "acme") == 0
    assert (service.asked[1].method, service.asked[1].url.path) == ("DELETE", "/api/v1/presets/7")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "long"), "acme has no preset 'long'"),
        (("retire", "long"), "acme has no preset 'long'"),
        (("save", "brief", "--parameters", "[1]"), "no JSON object"),
        (("save", "brief", "--parameters", "{"), "no JSON"),
    ],
)
def test_what_is_wrong_about_a_preset_is_said(
    waypost: Say, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert waypost(Service([LISTED]), "presets", *words, "--org", "acme") == 2
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())


# --- jobs -------------------------------------------------------------------------------------


def test_a_batch_is_sent_followed_and_fetched(
    waypost: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,usd\n1,2\n")
    file = {"id": "f", "filename": "f", "purpose": "batch", "bytes": 1, "created_at": 1}
    output = lambda _: httpx.Response(200, content=b"id,usd,P\n1,2,0.5\n")  # noqa: E731
    answers = [said(200, file), said(200, BATCH), said(200, BATCH), said(200, COMPLETED), output]
    assert waypost(Service(answers), "batch", "run", str(path), "--model", "a/b") == 0
    assert (tmp_path / "rows_output.csv").read_text() == "id,usd,P\n1,2,0.5\n"
    told = capsys.readouterr()
    assert "rows_output.csv  17 bytes" in told.out.replace("\n", "")
    assert "batch_1  completed  1 of 2" in told.err


def test_a_batch_that_failed_says_why_and_is_a_failure(
    waypost: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    errors = {"data": [{"line": 2, "message": "This is no row."}]}
    failed = said(200, {**BATCH, "status": "failed", "errors": errors})
    assert waypost(Service([failed]), "batch", "follow", "batch_1") == 1
    assert "line 2: This is no row." in capsys.readouterr().err


def test_rows_want_a_model(
    waypost: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,usd\n1,2\n")
    assert waypost(Service([]), "batch", "run", str(path)) == 2
    assert "name the model" in capsys.readouterr().err
    assert waypost(Service([]), "batch", "run", str(tmp_path / "none.csv")) == 2


def test_a_prediction_is_waited_for_and_one_that_failed_is_a_failure(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {**PREDICTION, "status": "succeeded", "output": {"x": 1}}
    service = Service([said(201, PREDICTION), said(200, done)])
    assert waypost(service, "predict", "a/b", '{"x": 1}') == 0
    assert json.loads(capsys.readouterr().out) == {"x": 1}
    failed = {**PREDICTION, "status": "failed", "error": "too long"}
    assert waypost(Service([said(201, failed), said(200, failed)]), "predict", "a/b", "{}") == 1
    assert "too long" in capsys.readouterr().err
    assert waypost(Service([]), "predict", "a/b", "{") == 2


# --- the management API -----------------------------------------------------------------------


def test_usage_adds_up_in_dollars(waypost: Say, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"calls": 3, "failed": 0, "charge_nano": 1_500_000}
    found = {
        "groups": [{"name": "a/b", "figures": figures}],
        "others_count": 0,
        "totals": {**figures, "calls": 4},
    }
    assert waypost(Service([said(200, found)]), "usage", "--org", "demo") == 0
    told = capsys.readouterr().out
    assert "$0.0015" in told
    assert told.splitlines()[2].split()[:2] == ["all", "4"]


def test_an_answer_without_advice_is_a_failure(
    waypost: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"id": 1, "state": "answered", "answer": {"fleet": None, "binding": ["budget"]}}
    service = Service([said(201, made)])
    words = ("advise", "a/b", "--rate", "5", "--slo", "p95=2s", "--org", "demo")
    assert waypost(service, *words) == 1
    assert "budget" in capsys.readouterr().out
    question = json.loads(service.asked[0].content)["question"]
    assert (question["share"], question["slo_ms"]) == (0.95, 2000.0)
    assert waypost(Service([]), "advise", "a/b", "--rate", "5", "--slo", "fast") == 2


def test_a_what_if_is_asked_and_followed(waypost: Say, capsys: pytest.CaptureFixture[str]) -> None:
    side = {"mean_ms": 5.0, "charge_nano": 10**9}
    answer = {"really": side, "now": side, "then": side, "calls": 7, "total": 7, "trusted": False}
    states = [said(201, {"id": 3, "state": "queued"})]
    states += [said(200, {"id": 3, "state": "done", "answer": answer})]
    service = Service(states)
    words = ("whatif", "a/b", "--since", "2026-11-24T15:00Z", "--until", "2026-11-24T16:00Z")
    assert waypost(service, *words, "--workers", "h100=-1", "--price", "12=0.9") == 0
    question = json.loads(service.asked[0].content)["question"]
    assert (question["pools"], question["prices"]) == ({"h100": {"workers": -1}}, {"12": 0.9})
    assert question["since"] == "2026-11-24T15:00:00+00:00"
    assert "NOT RELIABLE" in capsys.readouterr().out
    assert waypost(Service([]), *words, "--workers", "h100") == 2


# --- settings ---------------------------------------------------------------------------------


def test_a_key_is_kept_once_it_was_tried(
    waypost: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    assert waypost(Service([error(401, "invalid_api_key")]), "login", "--key-stdin", stdin="k") == 3
    assert not path.exists()
    service = Service([said(200, {"data": {}})])
    words = ("--base-url", "http://there", "login", "--key-stdin")
    assert waypost(service, *words, stdin="wp_live_0123456789abcdef\n") == 0
    assert service.asked[0].headers["authorization"] == "Bearer wp_live_0123456789abcdef"
    assert settings_read(path).base_url == "http://there"
    capsys.readouterr()
    assert waypost(Service([]), "config", "show", "--json") == 0
    told = capsys.readouterr().out
    assert "wp_live_0123…" in told
    assert "abcdef" not in told


def test_a_key_is_kept_with_the_router_that_took_it_and_nothing_of_another(
    waypost: Say, tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    old = Settings("old", "http://old", "http://old-pages", "cookie")
    settings_write(path, old)
    # The environment names another router.
    assert waypost(Service([said(200, {"data": {}})]), "login", "--key-stdin", stdin="new") == 0
    assert settings_read(path) == Settings("new", SETTINGS["base_url"])
    words = ("--base-url", "http://old", "login", "--key-stdin")
    settings_write(path, old)
    assert waypost(Service([said(200, {"data": {}})]), *words, stdin="new") == 0
    assert settings_read(path) == replace(old, api_key="new")


def test_secrets_are_not_words_of_a_command(
    waypost: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert waypost(Service([]), "config", "set", "api_key", "secret") == 2
    assert waypost(Service([]), "config", "set", "session", stdin="abc\n") == 0
    assert settings_read(tmp_path / "kept.json").session == "abc"
    assert waypost(Service([]), "config", "unset", "session") == 0
    assert settings_read(tmp_path / "kept.json").session is None
    assert waypost(Service([]), "config", "set", "colour", "red") == 2


def test_the_shell_can_complete(waypost: Say, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--show-completion", "bash"], ["--help"]):
        waypost(Service([]), *words)
    assert "waypost" in capsys.readouterr().out
