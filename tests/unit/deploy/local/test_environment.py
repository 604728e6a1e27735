"""Commands beside a stack that runs, and the home they mean."""

import os
from pathlib import Path

import pytest

from deploy.local.home import environment, state
from tests.unit.deploy.local.stacks import live_state


def test_a_running_stack_is_adopted_and_the_callers_environment_wins(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(home))
    monkeypatch.setenv("BROKER_URL", "redis://mine")
    monkeypatch.delenv("DATABASE_URL")
    running = live_state(environment={"DATABASE_URL": "postgres://it", "BROKER_URL": "redis://it"})
    state.save(home, running)
    environment.adopt_running_stack()
    assert os.environ["DATABASE_URL"] == "postgres://it"
    assert os.environ["BROKER_URL"] == "redis://mine"


def test_a_stack_that_is_named_is_meant_whatever_the_environment_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(home))
    monkeypatch.setenv("DATABASE_URL", "postgres://mine")
    monkeypatch.setenv("MIGRATE_DATABASE_URL", "postgres://me@mine")
    running = live_state(
        environment={"DATABASE_URL": "postgres://it"}, owner_url="postgres://owner@it"
    )
    state.save(home, running)
    environment.adopt_running_stack(named=True)
    assert os.environ["DATABASE_URL"] == "postgres://it"
    assert os.environ["MIGRATE_DATABASE_URL"] == "postgres://owner@it"


@pytest.mark.parametrize("words", [["--home", "/x y"], ["--home=/x y"]])
def test_every_command_knows_the_home_that_is_named(words: list[str]) -> None:
    line = ["manage.py", "keys", "create", *words, "--org", "demo"]
    assert environment.home_named(line) == (
        Path("/x y"),
        ["manage.py", "keys", "create", "--org", "demo"],
    )
    assert environment.home_named(line[:3]) == (None, line[:3])


def test_a_stack_that_is_gone_is_not_adopted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(home))
    monkeypatch.delenv("DATABASE_URL")
    state.save(home, live_state(boot="another"))
    environment.adopt_running_stack()
    assert "DATABASE_URL" not in os.environ


def test_a_command_beside_a_stack_can_be_its_owner(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYPOST_HOME", str(home))
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("MIGRATE_DATABASE_URL", "")
    monkeypatch.delenv("MIGRATE_DATABASE_URL")
    state.save(home, live_state(owner_url="postgres://owner@it"))
    environment.adopt_running_stack()
    assert os.environ.pop("MIGRATE_DATABASE_URL") == "postgres://owner@it"
    # The caller means another database.
    monkeypatch.setenv("DATABASE_URL", "postgres://mine")
    environment.adopt_running_stack()
    assert "MIGRATE_DATABASE_URL" not in os.environ
