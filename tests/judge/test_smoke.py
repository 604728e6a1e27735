"""The command itself, with the gateways that need no installing."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.judge.figures.results import Result
from tests.judge.gateways.peers import ROOT

SECONDS, BOUND_S = 14, 180


@pytest.mark.nightly
def test_the_router_is_measured_beside_the_oracle(tmp_path: Path) -> None:
    kept = tmp_path / "raw.json"
    command = [sys.executable, "-m", "tests.judge", "--scenario", "hetero50,e-sess50"]
    command += ["--targets", "oracle,ours", "--seconds", str(SECONDS)]
    command += ["--tools", str(tmp_path), "--json", str(kept)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert finished.returncode in {0, 1}, (
        finished.stderr
    )  # 1: this machine was too busy to be trusted.
    results = msgspec.json.decode(kept.read_bytes(), type=list[Result])
    assert [(result.scenario, result.target) for result in results] == [
        ("hetero50", "ours"),
        ("hetero50", "oracle"),
        ("e-sess50", "ours"),
        ("e-sess50", "oracle"),
    ]
    for result in results:
        assert result.summary is not None, result.failed
        assert result.summary.calls > 50
        assert result.summary.errors == {}
    assert "e-sess50" in finished.stdout
