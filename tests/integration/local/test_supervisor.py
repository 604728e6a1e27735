"""The supervisor over real processes."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.home.state import Condition, ServiceState
from deploy.local.processes import child
from deploy.local.processes.health import logged
from deploy.local.processes.process import Process, group_members
from deploy.local.services.supervisor import Service, StartFailed, StopRequested, Supervisor
from tests.embedded import wait_until
from tests.patience import PATIENCE_S

SLEEP = ("sleep", "600")


def shell(script: str) -> tuple[str, ...]:
    return (*child.prefix(signal.SIGTERM), "sh", "-c", script)


class Owner:
    """Builds supervisors that run until a stop is requested, and always stops them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = False
        self._supervisors: list[Supervisor] = []

    def supervise(self, *services: Service) -> Supervisor:
        supervisor = Supervisor(
            services,
            logs=self.folder / "logs",
            cwd=self.folder,
            stop_requested=lambda: self.asked,
        )
        self._supervisors.append(supervisor)
        return supervisor

    def watch_until(self, supervisor: Supervisor, condition: object) -> None:
        """Watch (in this thread) until `condition()`; stop asking after a minute."""
        assert callable(condition)

        def waiter() -> None:
            try:
                wait_until(condition, PATIENCE_S, "the expected state was not seen")
            finally:
                self.asked = True

        thread = threading.Thread(target=waiter)
        thread.start()
        supervisor.watch()
        thread.join()
        self.asked = False

    def close(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop(hurry=lambda: True)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.close()


def state_of(supervisor: Supervisor, name: str) -> ServiceState:
    return next(state for state in supervisor.states if state.name == name)


def test_a_service_starts_after_what_it_needs_and_a_job_runs_once(owner: Owner) -> None:
    order = owner.folder / "order"
    supervisor = owner.supervise(
        Service("web", shell(f"echo web >> {order}; sleep 600"), needs=("migrate",)),
        Service("migrate", shell(f"echo migrate >> {order}"), needs=("database",), job=True),
        Service(
            "database",
            shell(f"echo database >> {order}; touch ready; sleep 600"),
            ready=lambda log: (owner.folder / "ready").exists(),
        ),
    )
    supervisor.start()
    wait_until(
        lambda: order.read_text().count("\n") == 3, PATIENCE_S, "three lines were not written"
    )
    assert order.read_text().split() == ["database", "migrate", "web"]
    assert state_of(supervisor, "migrate").condition is Condition.DONE
    assert state_of(supervisor, "web").condition is Condition.READY


def test_a_failing_start_names_the_service_and_shows_its_log(owner: Owner) -> None:
    supervisor = owner.supervise(
        Service("fine", shell("sleep 600")),
        Service("broken", shell("echo no such table >&2; exit 4"), job=True),
    )
    with pytest.raises(StartFailed, match="broken left with exit status 4") as failure:
        supervisor.start()
    assert failure.value.log_tail == ["no such table"]


def test_a_service_that_never_answers_fails_after_its_timeout(owner: Owner) -> None:
    supervisor = owner.supervise(
        Service("mute", shell("sleep 600"), ready=lambda log: False, ready_timeout_s=0.3)
    )
    with pytest.raises(StartFailed, match="mute was not ready within"):
        supervisor.start()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no libpython; exit 3", "no libpython"),
        ("echo half a word; kill -SEGV $$", "left with SIGSEGV: half a word"),
        ("exit 1", "left with exit status 1"),
        ("sleep 600", "was not ready within 1 s"),
    ],
)
def test_the_stack_goes_on_without_a_part_that_cannot_start(
    owner: Owner, script: str, reason: str
) -> None:
    seen: list[dict[str, str]] = []
    supervisor = owner.supervise(
        Service(
            "engine",
            shell(script),
            ready=lambda log: False,
            ready_timeout_s=1 if "sleep" in script else 60,
            essential=False,
        ),
        Service("seed", shell("true"), needs=("engine",), job=True, prepare=seen.append),
    )
    supervisor.start()
    engine = state_of(supervisor, "engine")
    assert (engine.condition, engine.reason) == (Condition.UNAVAILABLE, reason)
    assert engine.process is None
    assert seen == [{"engine": reason}]
    # It stays left out: nothing tries it again every half a minute.
    owner.watch_until(supervisor, lambda: True)
    assert state_of(supervisor, "engine") == engine


def test_what_a_part_wrote_as_a_traceback_is_told_as_its_last_line(owner: Owner) -> None:
    log = owner.folder / "logs" / "web.log"
    service = Service(
        "web", (*child.prefix(signal.SIGTERM), sys.executable, "-c", "def f(): 1/0\nf()")
    )
    supervisor = owner.supervise(replace(service, ready=lambda log: False))
    with pytest.raises(StartFailed) as failure:
        supervisor.start()
    assert "Traceback" in log.read_text()
    assert failure.value.log_tail == ["ZeroDivisionError: division by zero"]


def test_a_crashed_service_is_started_again(owner: Owner) -> None:
    supervisor = owner.supervise(Service("worker", shell("sleep 600")))
    supervisor.start()
    first = state_of(supervisor, "worker").process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)

    def came_back() -> bool:
        state = state_of(supervisor, "worker")
        return state.restarts == 1 and state.condition is Condition.READY

    owner.watch_until(supervisor, came_back)
    second = state_of(supervisor, "worker").process
    assert second is not None
    assert second != first
    assert second.is_alive()


def test_without_a_place_for_its_log_a_service_waits_and_the_others_go_on(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    supervisor = owner.supervise(
        Service("worker", shell("sleep 600")), Service("web", shell("sleep 600"))
    )
    supervisor.start()
    first, web = (state_of(supervisor, name).process for name in ("worker", "web"))
    assert first is not None
    assert web is not None
    logs = owner.folder / "logs"
    shutil.rmtree(logs)
    logs.touch()
    os.kill(first.pid, signal.SIGKILL)
    owner.watch_until(
        supervisor, lambda: "cannot be started" in state_of(supervisor, "worker").reason
    )
    logs.unlink()
    owner.watch_until(
        supervisor, lambda: state_of(supervisor, "worker").condition is Condition.READY
    )
    assert (logs / "worker.log").exists()
    assert state_of(supervisor, "web").process == web


def test_a_service_may_be_asked_something_else_once_it_was_ready(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    asked: list[Path] = []
    database = owner.folder / "database"
    database.touch()
    service = Service(
        "web",
        shell("sleep 600"),
        ready=lambda log: database.exists(),
        alive=lambda log: asked.append(log) is None,
    )
    supervisor = owner.supervise(service)
    supervisor.start()
    process = state_of(supervisor, "web").process
    assert process is not None
    database.unlink()
    owner.watch_until(supervisor, lambda: len(asked) >= 3)
    assert state_of(supervisor, "web").condition is Condition.READY
    # After a crash it has to become ready again.
    os.kill(process.pid, signal.SIGKILL)
    owner.watch_until(supervisor, lambda: state_of(supervisor, "web").restarts == 1)
    database.touch()
    owner.watch_until(supervisor, lambda: state_of(supervisor, "web").condition is Condition.READY)


def test_a_service_that_stops_answering_is_called_unhealthy(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    answers = owner.folder / "answers"
    answers.touch()
    supervisor = owner.supervise(
        Service("web", shell("sleep 600"), ready=lambda log: answers.exists())
    )
    supervisor.start()
    answers.unlink()
    owner.watch_until(
        supervisor, lambda: state_of(supervisor, "web").condition is Condition.UNHEALTHY
    )
    answers.touch()
    owner.watch_until(supervisor, lambda: state_of(supervisor, "web").condition is Condition.READY)


@pytest.mark.parametrize("ready_once", [False, True])
def test_a_service_that_is_stopped_is_started_again(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, ready_once: bool
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    monkeypatch.setattr("deploy.local.services.supervisor.STOPPED_S", 0.5)
    supervisor = owner.supervise(Service("jobs", shell("sleep 600"), ready_once=ready_once))
    supervisor.start()
    first = state_of(supervisor, "jobs").process
    assert first is not None
    os.kill(first.pid, signal.SIGSTOP)
    owner.watch_until(supervisor, lambda: "was stopped" in state_of(supervisor, "jobs").reason)
    owner.watch_until(supervisor, lambda: state_of(supervisor, "jobs").condition is Condition.READY)
    assert state_of(supervisor, "jobs").restarts == 1
    assert not first.is_alive()


def test_a_service_that_hangs_is_ended_with_its_children_and_started_again(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    monkeypatch.setattr("deploy.local.services.supervisor.HUNG_S", 0.5)
    answers = owner.folder / "answers"
    answers.touch()
    service = Service("web", shell("sleep 600 & wait"), ready=lambda log: answers.exists())
    supervisor = owner.supervise(service)
    supervisor.start()
    first = state_of(supervisor, "web").process
    assert first is not None
    answers.unlink()
    owner.watch_until(supervisor, lambda: "did not answer" in state_of(supervisor, "web").reason)
    assert group_members(first.pid) == []
    answers.touch()
    owner.watch_until(supervisor, lambda: state_of(supervisor, "web").condition is Condition.READY)
    assert state_of(supervisor, "web").restarts == 1


def test_a_restarted_service_that_never_answers_is_tried_again_ever_later(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.BACKOFF_FIRST_S", 0.1)
    answers = owner.folder / "answers"
    answers.touch()
    service = Service("web", shell("sleep 600"), ready=lambda log: answers.exists())
    supervisor = owner.supervise(replace(service, ready_timeout_s=0.5))
    supervisor.start()
    process = state_of(supervisor, "web").process
    assert process is not None
    answers.unlink()
    os.kill(process.pid, signal.SIGKILL)
    owner.watch_until(supervisor, lambda: state_of(supervisor, "web").restarts == 3)
    assert "did not answer" in state_of(supervisor, "web").reason


def test_a_log_is_cut_when_it_grows_too_long(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.services.supervisor.HEALTH_PERIOD_S", 0.1)
    monkeypatch.setattr("deploy.local.services.supervisor.LOG_MAX_BYTES", 10_000)
    chatty = "while :; do echo 0123456789012345678901234567890123456789; sleep 0.001; done"
    supervisor = owner.supervise(
        Service("chatty", shell(chatty), ready=logged("0123"), ready_once=True)
    )
    supervisor.start()
    older = owner.folder / "logs" / "chatty.1.log"
    owner.watch_until(supervisor, older.exists)
    log = owner.folder / "logs" / "chatty.log"
    assert log.stat().st_size < older.stat().st_size
    # It goes on at the new start, not behind a hole where the old end was.
    wait_until(lambda: log.read_bytes().startswith(b"0123"), PATIENCE_S, "nothing more was logged")
    assert state_of(supervisor, "chatty").condition is Condition.READY


def test_stop_ends_whole_process_groups_and_dependants_first(owner: Owner) -> None:
    order = owner.folder / "order"
    bye = "trap 'echo {} >> {}; exit 0' TERM; touch {}.up; sleep 600 & wait"
    supervisor = owner.supervise(
        Service(
            "database",
            shell(bye.format("database", order, "database")),
            ready=lambda log: (owner.folder / "database.up").exists(),
        ),
        Service(
            "web",
            shell(bye.format("web", order, "web")),
            needs=("database",),
            ready=lambda log: (owner.folder / "web.up").exists(),
        ),
    )
    supervisor.start()
    groups = [state.process.pid for state in supervisor.states if state.process]
    supervisor.stop()
    assert order.read_text().split() == ["web", "database"]
    assert [group_members(group) for group in groups] == [[], []]


def test_stop_kills_what_ignores_its_signal_after_its_grace(owner: Owner) -> None:
    ignores = (
        "import signal,time; signal.signal(15, signal.SIG_IGN); open('up','w'); time.sleep(600)"
    )
    supervisor = owner.supervise(
        Service(
            "stubborn",
            (*child.prefix(signal.SIGTERM), sys.executable, "-c", ignores),
            ready=lambda log: (owner.folder / "up").exists(),
            stop_grace_s=0.2,
        )
    )
    supervisor.start()
    process = state_of(supervisor, "stubborn").process
    assert process is not None
    supervisor.stop()
    assert not process.is_alive()


def test_a_request_to_stop_is_heard_while_starting(owner: Owner) -> None:
    supervisor = owner.supervise(Service("mute", shell("sleep 600"), ready=lambda log: False))
    owner.asked = True
    with pytest.raises(StopRequested):
        supervisor.start()


def test_unknown_needs_are_refused(owner: Owner) -> None:
    with pytest.raises(ValueError, match="web needs unknown"):
        Supervisor([Service("web", SLEEP, needs=("databse",))], logs=owner.folder, cwd=owner.folder)


def test_a_process_is_not_mistaken_for_another_with_its_pid() -> None:
    own = Process.find(os.getpid())
    assert own is not None
    assert own.is_alive()
    earlier = Process(own.pid, own.started_ticks - 1)
    assert not earlier.is_alive()
    assert earlier.send(signal.SIGKILL) is False
    earlier.kill_group()
    earlier.kill_group(even_leaderless=True)


def test_stop_copes_with_services_that_leave_at_the_same_moment(owner: Owner) -> None:
    quitters = [Service(f"quitter-{number}", shell("exit 1"), job=True) for number in range(5)]
    supervisor = owner.supervise(Service("fine", shell("sleep 600")), *quitters)
    with pytest.raises(StartFailed):
        supervisor.start()
    supervisor.stop()
    assert not any(state.process and state.process.is_alive() for state in supervisor.states)
