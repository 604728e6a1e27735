"""The scaler of one machine waits for its agents as long as their calls may take."""

import subprocess
import sys
from pathlib import Path

import pytest

from marketplace.catalog.models import Pool
from marketplace.planning.scaling import local
from marketplace.planning.scaling.local import LocalScaler
from marketplace.planning.scaling.steadier import Steadier

DRAINS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(7)))
print("ready", flush=True)
signal.pause()
"""
HANGS = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


def agent(program: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def scaler(drain_s: float, **agents: dict[int, subprocess.Popen[bytes]]) -> LocalScaler:
    return LocalScaler(
        pool=Pool(name="fast"),
        words=["--drain-s", "1"],
        folder=Path(),
        first_port=1,
        steadier=Steadier(0.0),
        drain_s=drain_s,
        **agents,
    )


def test_agents_that_drain_are_waited_for_and_end_by_themselves() -> None:
    running, leaving = agent(DRAINS), agent(DRAINS)
    leaving.terminate()
    found = scaler(60.0, running={0: running}, leaving={1: leaving})
    found.close()
    assert (running.returncode, leaving.returncode) == (7, 7)
    assert (found.running, found.leaving) == ({}, {})


def test_one_that_hangs_beyond_its_drain_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "STOP_GRACE_S", 0.1)
    hanging = agent(HANGS)
    scaler(0.1, running={0: hanging}).close()
    assert hanging.returncode == -9


class Started:
    """What the next agent is started with, which does not run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, drain_s: float = 1.0) -> None:
        monkeypatch.setattr(local.subprocess, "Popen", self._popen)
        found = scaler(drain_s)
        found.folder = folder
        credential = folder / "fast-scaled-0" / local.CREDENTIAL
        credential.parent.mkdir()
        credential.touch()
        found._start()

    def _popen(self, words: list[str], *, env: dict[str, str], **_: object) -> None:
        self.words, self.environment = words, env


def test_an_agent_drains_for_as_long_as_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = Started(tmp_path, monkeypatch, drain_s=900.0).words
    assert words[-4:] == ["--drain-s", "1", "--drain-s", "900"], "the last one counts"


def test_an_agent_counts_the_devices_as_the_scaler_does_and_knows_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    for name, value in {**told, "WAYPOST_SECRET_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    environment = Started(tmp_path, monkeypatch).environment
    assert told.items() <= environment.items()
    assert "WAYPOST_SECRET_KEY" not in environment
