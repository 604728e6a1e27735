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

TUTORIAL = DOCS / "tutorial" / "first-call.md"
"""It tells at length what the README tells in short; and so do their tests."""
GUIDES = DOCS / "how-to"
SDK = GUIDES / "use-the-python-sdk.md"
LONG = {
    TUTORIAL,
    SDK,
    GUIDES / "add-a-worker.md",
    GUIDES / "back-up-and-restore.md",
    GUIDES / "observe.md",
    GUIDES / "publish-a-model.md",
    GUIDES / "run-a-batch.md",
    GUIDES / "run-a-pipeline.md",
    GUIDES / "take-payments.md",
    DOCS / "reference" / "http-api.md",
}
"""Of these an ordinary run takes the first snippet of the SDK's page alone."""
PAGES = {ROOT / "README.md", GUIDES / "score-transactions.md", *LONG}
NOT_HERE = re.compile(
    r"benchmark|doctor|calls\.jsonl|summary\.json|curl -N|make run|workers\.agent|restore"
)
"""Looks at other tests' doings, needs a file of the reader's, stops the product or does not end."""


def long_pages_nightly(found: Iterable[Snippet]) -> list[ParameterSet]:
    """See ``LONG``."""
    every = list(found)
    kept = [one for one in every if one.page not in LONG]
    return rest_nightly(every, kept + [one for one in every if one.page == SDK][:1])


SNIPPETS = [
    snippet
    for snippet in pages.snippets()
    if snippet.page in PAGES and not NOT_HERE.search(snippet.text)
]
PROGRAMS = long_pages_nightly(snippet for snippet in SNIPPETS if snippet.language == "python")
COMMANDS = long_pages_nightly(
    snippet
    for snippet in SNIPPETS
    if snippet.language == "sh" and re.search(r"manage\.py|bin/waypost|^curl", snippet.text)
)
TIMEOUT_S = 300
TOKENS = {"ROUTER_ADMIN_TOKEN", "WAYPOST_METRICS_TOKEN"}
ASSIGNED = re.compile(r"\Aexport (\w+)=.*\s*\Z")
"""All that some snippets do; they print nothing, and so what they set is printed."""
TABLE = "transactions.csv"
"""An earlier snippet of the page makes it."""
MAKES_TABLE = ".venv/bin/python -m workers.backends.triton.fraud.transactions 2000"
REFUSALS_FAIL = 'curl() { command curl --fail-with-body "$@"; }\n'


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_runs_as_it_is(program: Snippet, local_stack: LocalStack) -> None:
    assert run([sys.executable, "-c", program.text], local_stack).strip()


@pytest.mark.parametrize("lines", COMMANDS, ids=str)
def test_shell_lines_run_as_they_are(lines: Snippet, local_stack: LocalStack) -> None:
    text = ASSIGNED.sub(r"\g<0>\nprintenv \1", lines.text)
    if TABLE in text and MAKES_TABLE not in text:
        text = f"{MAKES_TABLE} > {TABLE}\n{text}"
    output = run(["bash", "-euo", "pipefail", "-c", REFUSALS_FAIL + text], local_stack)
    assert output.strip()
    if "chat/completions" in lines.text:
        assert json.loads(output)["choices"][0]["message"]["content"]


def run(argv: list[str], stack: LocalStack) -> str:
    """Run a page's snippet against this stack; returns its output."""
    *words, text = argv
    secrets = json.loads((stack.home / "secrets.json").read_text())
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{stack.router_port}")
    text = text.replace("127.0.0.1:8081", f"127.0.0.1:{stack.router_grpc_port}")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{stack.web_port}")
    text = text.replace("wp_live_…", stack.demo["api_key"])
    text = text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    # What the reader has: another pool, and folders that are not the repository's.
    text = text.replace("--pool h200", "--pool llama-small")
    text = text.replace("/mnt/backups", f"{stack.home}/backups")
    text = re.sub(r"(/tmp/)?transactions\.csv", f"{stack.home}/transactions.csv", text)
    done = subprocess.run(
        [*words, text],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            **{name: value for name, value in secrets.items() if name in TOKENS},
            "WAYPOST_HOME": str(stack.home),
            "KEY": stack.demo["api_key"],
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
