"""What the launcher shows: reports, progress and the banner."""

import io
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.home import state
from deploy.local.home.state import Condition, ServiceState
from deploy.local.services.stack import Options
from deploy.local.terminal.banner import banner, first_call
from deploy.local.terminal.progress import Progress
from deploy.local.terminal.report import as_json, as_table
from tests.unit.deploy.local.stacks import READY, live_state


def test_reports_hold_no_secrets(home: Path) -> None:
    for text in (json.dumps(as_json(home, live_state())), as_table(home, live_state())):
        assert "hush" not in text
        assert "web" in text


def test_the_report_of_nothing(home: Path) -> None:
    assert as_json(home, None)["running"] is False
    assert as_table(home, None) == f"Nothing runs in {home}."


def test_the_report_says_which_build_of_the_router_runs(home: Path) -> None:
    router = replace(READY, name="router", address="http://127.0.0.1:8080", build="compiled")
    state = live_state(services=(READY, router))
    assert as_table(home, state).endswith("http://127.0.0.1:8080 compiled")
    assert [service["build"] for service in as_json(home, state)["services"]] == ["", "compiled"]


def test_plain_progress_says_each_change_once() -> None:
    out = io.StringIO()
    progress = Progress(out, clock=lambda: 5.0)
    waiting = ServiceState("web", address="http://127.0.0.1:8000")
    starting = replace(waiting, condition=Condition.STARTING, since=3.0)
    ready = replace(starting, condition=Condition.READY, seconds_to_ready=2.5)
    for item in (waiting, starting, starting, ready, ready):
        progress.show((item,))
    assert out.getvalue().splitlines() == [
        "  … web              starting      2.0 s  http://127.0.0.1:8000",
        "  ✓ web              ready         2.5 s  http://127.0.0.1:8000",
    ]


def test_the_banner_of_a_seeded_stack_has_all_that_is_needed(home: Path) -> None:
    demo = {"email": "demo@waypost.local", "password": "pass-word", "api_key": "wp_live_x"}
    (home / "demo.json").write_text(json.dumps(demo))
    text = banner(Options(home), detached=True)
    down, key = f"manage.py down --home {home}", f"manage.py keys create --org demo --home {home}"
    for needed in ("http://127.0.0.1:8000/", *demo.values(), "curl ", down, key):
        assert needed in text


def test_commands_of_the_banner_can_be_pasted_wherever_the_checkout_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/my checkout/.venv/bin/python")
    (stop,) = (line for line in banner(Options(home), detached=True).splitlines() if "Stop" in line)
    assert shlex.split(stop)[1:4] == ["/my checkout/.venv/bin/python", "manage.py", "down"]


def test_the_banner_says_what_this_machine_goes_without(home: Path) -> None:
    without = READY.now(Condition.UNAVAILABLE, reason="libpython3.11 is missing")
    state.save(home, live_state(services=(replace(without, name="triton-batched"),)))
    text = banner(Options(home), detached=False)
    assert "Without triton-batched: libpython3.11 is missing" in text


def test_the_first_call_is_one_line_that_a_shell_can_read() -> None:
    line = first_call("http://127.0.0.1:8080", "wp_live_x")
    assert "\n" not in line
    words = shlex.split(line)
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert json.loads(words[-1])["messages"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_place_until_the_stack_has_settled() -> None:
    out = Terminal()
    progress = Progress(out, clock=lambda: 5.0)
    starting = ServiceState("web", condition=Condition.STARTING, since=3.0)
    progress.show((starting,))
    progress.show((starting.now(Condition.READY),))
    assert out.getvalue().count("\033[1F") == 1
    progress.settle()
    progress.show((starting.now(Condition.RESTARTING, reason="left with SIGKILL"),))
    assert out.getvalue().count("\033[1F") == 1
    assert out.getvalue().endswith("left with SIGKILL\n")
