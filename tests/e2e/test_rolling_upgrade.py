"""The release before runs whole over this one's tables, and this one takes over from it.

Its code is that before the last change of a migration, or what WAYPOST_UPGRADE_FROM names to git.
"""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.local_stack import ROOT, LocalStack, start
from tests.patience import PATIENCE_S
from tests.ports import free_ports

pytestmark = pytest.mark.nightly
MIGRATIONS = ":(glob)marketplace/*/migrations/**"
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no earlier code here: {done.stderr.strip()}")
    return done.stdout.strip()


def before() -> str:
    if named := os.environ.get("WAYPOST_UPGRADE_FROM"):
        return named
    return git("rev-parse", git("log", "-1", "--format=%H", "--", MIGRATIONS) + "^")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder with the code before, over what is installed and built for this one."""
    root, archive = tmp_path / "earlier", tmp_path / "earlier.tar"
    root.mkdir()
    git("archive", f"--output={archive}", before())
    subprocess.run(["tar", "-xf", archive, "-C", root], check=True, timeout=PATIENCE_S)
    (root / "frontend" / "dist").symlink_to(ROOT / "frontend" / "dist")
    return root


def works(stack: LocalStack) -> None:
    """A page, a call and its bill."""
    assert httpx.get(f"{stack.web_url}/models", timeout=PATIENCE_S).status_code == 200
    headers = {"authorization": f"Bearer {stack.demo['api_key']}"}
    with httpx.Client(base_url=stack.router_url, headers=headers, timeout=PATIENCE_S) as client:
        offered = client.get("/v1/models").json()["data"]
        model = next(one["id"] for one in offered if one["task"] == "chat")
        assert client.post("/v1/chat/completions", json={"model": model, **CHAT}).is_success


def test_the_code_before_runs_over_these_tables(tmp_path: Path, earlier: Path) -> None:
    home = tmp_path / "home"
    now = LocalStack(home, *free_ports(3))
    old = LocalStack(home, *free_ports(3), root=earlier)
    for stack in (now, old, now):
        try:
            start(stack)
            works(stack)
            if stack is now:
                proven = stack.manage("ledger", "verify", "--from-beginning")
                assert proven.returncode == 0, proven.stdout + proven.stderr
        finally:
            stack.down()
