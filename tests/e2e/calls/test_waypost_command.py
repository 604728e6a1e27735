"""``waypost``, as a customer types it, before the whole product: its work and its refusals.

Each command is a process. CI has the first test; tests/unit/deploy/sdk has it all without one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local_stack import LocalStack
from workers.backends.triton.fraud.transactions import FEATURES

CHAT = "huggingfacetb/smollm2-135m-instruct"
FRAUD = "waypost/fraud-scorer"
EMBEDDINGS = "wordllama/wordllama-256"
TIMEOUT_S = 180
KEYS = """
from marketplace.accounts.models import Organisation, Scope, User
from marketplace.accounts.services import api_key_create, organisation_create
demo = Organisation.objects.get(slug="demo")
scopes = [Scope.INFERENCE, Scope.MANAGEMENT]
print(api_key_create(organisation=demo, name="waypost", scopes=scopes)[1])
limited, key = api_key_create(organisation=demo, name="waypost, limited")
limited.requests_per_minute = 1
limited.save()
print(key)
poor = User.objects.create_user("poor-{salt}@example.com")
poor = organisation_create(name="poor-{salt}", slug="poor-{salt}", owner=poor)
print(api_key_create(organisation=poor, name="waypost")[1])
"""

Say = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def keys(local_stack: LocalStack) -> dict[str, str]:
    """A key that may do all, one that may call once a minute, one without credit."""
    salt = os.urandom(4).hex()
    made = local_stack.manage("shell", "-v", "0", "-c", KEYS.replace("{salt}", salt))
    assert made.returncode == 0, made.stderr
    return dict(zip(("all", "limited", "poor"), made.stdout.split(), strict=True))


@pytest.fixture
def waypost(local_stack: LocalStack, keys: dict[str, str], tmp_path: Path) -> Say:
    def say(
        *words: str, key: str = "all", status: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "waypost", *words],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(sys.path),
                "WAYPOST_API_KEY": keys.get(key, key),
                "WAYPOST_BASE_URL": local_stack.router_url,
                "WAYPOST_MANAGEMENT_URL": local_stack.web_url,
                "WAYPOST_CONFIG": str(tmp_path / "settings.json"),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return say


def test_calls(waypost: Say, tmp_path: Path) -> None:
    assert CHAT in waypost("models").stdout
    embedded = json.loads(waypost("run", EMBEDDINGS, "a red car", "--embed").stdout)
    assert len(embedded) == 256
    (tmp_path / "rows.json").write_text(json.dumps({"FEATURES": [[84.2, 14, 3, 60, 2, 0.1, 1, 9]]}))
    scored = waypost("run", FRAUD, "--tensors", "rows.json")
    assert 0 <= json.loads(scored.stdout)["FRAUD_PROBABILITY"][0][0] <= 1
    assert "request " in scored.stderr


@pytest.mark.nightly
def test_a_prediction_and_a_batch(waypost: Say, tmp_path: Path) -> None:
    predicted = waypost("predict", EMBEDDINGS, '{"input": "a red car"}')
    assert len(json.loads(predicted.stdout)["data"]) == 1
    (tmp_path / "rows.csv").write_text(",".join(FEATURES) + "\n84.2,14,3,60,2,0.1,1,9\n")
    ran = waypost("batch", "run", "rows.csv", "--model", FRAUD)
    assert "rows_output.csv" in ran.stdout
    assert "1 of 1" in ran.stderr
    header, row = (tmp_path / "rows_output.csv").read_text().splitlines()
    assert header.endswith("FRAUD_PROBABILITY")
    assert len(row.split(",")) == len(FEATURES) + 1
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    wrong = waypost("batch", "run", "wrong.csv", "--model", FRAUD, status=1)
    assert "The header must name" in wrong.stderr


@pytest.mark.nightly
def test_the_management_api(waypost: Say) -> None:
    assert json.loads(waypost("usage", "--json").stdout)["totals"]["calls"] >= 0
    asked = ("advise", "emulated/mixtral-8x7b-instruct", "--rate", "1", "--slo", "p99=60s")
    assert json.loads(waypost(*asked, "--json").stdout)["answer"]["fleet"]
    assert isinstance(json.loads(waypost("bench", "list", "--json").stdout), list)
    # No key is one of the staff.
    times = ("--since", "2026-11-24T15:00Z", "--until", "2026-11-24T16:00Z")
    assert "403" in waypost("whatif", CHAT, *times, status=3).stderr


@pytest.mark.nightly
def test_refusals(waypost: Say) -> None:
    assert "invalid_api_key" in waypost("models", key="wp_live_wrong", status=3).stderr
    assert "model_not_found" in waypost("run", "nobody/nothing", "hi", status=5).stderr
    poor = waypost("run", EMBEDDINGS, "hi", "--embed", key="poor", status=4)
    assert "insufficient_credit" in poor.stderr
    away = waypost("models", status=9, WAYPOST_BASE_URL="http://127.0.0.1:9")
    assert "nothing was sent" in away.stderr
    assert json.loads(waypost("run", EMBEDDINGS, "hi", "--embed", key="limited").stdout)
    again = ("--tries", "1", "run", EMBEDDINGS, "hi", "--embed")
    limited = waypost(*again, key="limited", status=7)
    assert "rate_limited" in limited.stderr
    assert "try again in" in limited.stderr
