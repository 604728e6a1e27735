"""What the README, the tutorial and more tell people to run does what they say, on the stack."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.architecture import pages
from tests.architecture.pages import DOCS, ROOT, Snippet
from tests.examples import rest_nightly
from tests.local_stack import LocalStack

pytestmark = pytest.mark.xdist_group("calls")

TUTORIAL = DOCS / "tutorial" / "first-call.md"
"""It tells at length what the README tells in short; and so do their tests."""
SDK = DOCS / "how-to" / "use-the-python-sdk.md"
PAGES = (
    ROOT / "README.md",
    TUTORIAL,
    DOCS / "how-to" / "score-transactions.md",
    SDK,
)


def long_pages_nightly(found: Iterable[Snippet]) -> list[ParameterSet]:
    """All but those of the tutorial, and but the first of the SDK's page."""
    every = list(found)
    kept = [one for one in every if one.page not in {TUTORIAL, SDK}]
    return rest_nightly(every, kept + [one for one in every if one.page == SDK][:1])


SNIPPETS = [snippet for snippet in pages.snippets() if snippet.page in PAGES]
PROGRAMS = long_pages_nightly(snippet for snippet in SNIPPETS if snippet.language == "python")
COMMANDS = long_pages_nightly(
    snippet
    for snippet in SNIPPETS
    # What else is tested at the same time would be measured too.
    if re.search(r"manage\.py|bin/waypost", snippet.text) and "benchmark" not in snippet.text
)
TIMEOUT_S = 300


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_runs_as_it_is(program: Snippet, local_stack: LocalStack) -> None:
    assert run([sys.executable, "-c", program.text], local_stack).strip()


@pytest.mark.parametrize("lines", COMMANDS, ids=str)
def test_shell_lines_run_as_they_are(lines: Snippet, local_stack: LocalStack) -> None:
    output = run(["bash", "-euo", "pipefail", "-c", lines.text], local_stack)
    if "curl" in lines.text:
        assert json.loads(output)["choices"][0]["message"]["content"]


def run(argv: list[str], stack: LocalStack) -> str:
    """Run a page's snippet against this stack; returns its output."""
    *words, text = argv
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{stack.router_port}")
    text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = subprocess.run(
        [*words, text],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "WAYPOST_HOME": str(stack.home),
            "WAYPOST_KEY": stack.demo["api_key"],
            "WAYPOST_API_KEY": stack.demo["api_key"],
            "WAYPOST_BASE_URL": stack.router_url,
            "WAYPOST_MANAGEMENT_URL": stack.web_url,
            "WAYPOST_CONFIG": str(stack.home / "no-settings.json"),
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
