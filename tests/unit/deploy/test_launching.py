"""What a start refuses, and what it makes of what an earlier one left."""

import os
import signal
from pathlib import Path

import pytest

from deploy.local.home import state
from deploy.local.launching import launch
from deploy.local.launching.launch import LaunchError
from deploy.local.services.stack import Options


@pytest.mark.parametrize("left", ["", "{", "[]", "{}", '{"services": [{"unheard": 1}]}', "null"])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, left: str) -> None:
    path = state.state_path(tmp_path)
    path.parent.mkdir()
    path.write_text(left)
    assert state.load(tmp_path) is None
    assert launch.end_leftovers(tmp_path) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(Path("home"), web_port=70_000), "--port needs 70000"),
        (Options(Path("home"), web_port=0), "--port needs 0"),
        (
            Options(Path("home"), router_port=65_535, router_grpc_port=65_536),
            "--router-grpc-port needs 65536",
        ),
        (Options(Path("home"), router_port=65_530, routers=8), "--router-port needs 65536"),
    ],
)
def test_a_port_that_is_none_is_named(options: Options, said: str) -> None:
    with pytest.raises(LaunchError, match=f"{said}, and ports are from 1 to 65535"):
        launch.check_ports(options)


def test_a_stack_that_nohup_started_outlives_its_terminal() -> None:
    def heard() -> int:
        with launch._requests_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            return asked()

    # The tests themselves may have been started by nohup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert heard() == 1
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert heard() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
