"""What is kept of a stack, and when it is live and healthy."""

from pathlib import Path

import pytest

from deploy.local.home import state
from deploy.local.home.state import Condition
from tests.unit.deploy.local.stacks import READY, live_state


def test_state_survives_its_file_and_is_private(home: Path) -> None:
    state.save(home, live_state())
    assert state.load(home) == live_state()
    assert state.state_path(home).stat().st_mode & 0o777 == 0o600


def test_nothing_started_is_no_state(home: Path) -> None:
    assert state.load(home) is None


def test_a_state_of_another_boot_is_not_live() -> None:
    assert live_state().is_live()
    assert not live_state(boot="another").is_live()


@pytest.mark.parametrize("condition", [Condition.UNHEALTHY, Condition.RESTARTING])
def test_one_sick_service_makes_the_stack_unhealthy(condition: Condition) -> None:
    assert live_state().is_healthy
    assert not live_state(services=(READY, READY.now(condition))).is_healthy


def test_what_this_machine_cannot_run_does_not_make_it_unhealthy() -> None:
    without = READY.now(Condition.UNAVAILABLE, reason="no libpython")
    assert live_state(services=(READY, without)).is_healthy
