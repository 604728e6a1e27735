"""The launcher's pure parts: what it writes, shows and says."""

import io
import json
import os
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.home import environment, secrets, state
from deploy.local.home.state import Condition, Phase, ServiceState, StackState
from deploy.local.launching.launch import LaunchError, check_ports, explain
from deploy.local.processes import health, ports
from deploy.local.processes.process import Process
from deploy.local.services import stack, supervisor
from deploy.local.services.postgres import Postgres
from deploy.local.services.stack import Options
from deploy.local.services.supervisor import StartFailed, describe_status, tail
from deploy.local.terminal.banner import banner, first_call
from deploy.local.terminal.progress import Progress
from deploy.local.terminal.report import as_json, as_table
from tests.patience import PATIENCE_S

READY = ServiceState(
    "web", Condition.READY, since=1_700_000_000, seconds_to_ready=1.25, process=Process.own()
)


def live_state(**changes: object) -> StackState:
    first = StackState(
        launcher=Process.own(),
        phase=Phase.RUNNING,
        started_at=1_700_000_000,
        services=(READY,),
        environment={"DATABASE_URL": "postgres://role:hush@127.0.0.1:1/x"},
    )
    return replace(first, **changes)  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


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


def test_reports_hold_no_secrets(home: Path) -> None:
    for text in (json.dumps(as_json(home, live_state())), as_table(home, live_state())):
        assert "hush" not in text
        assert "web" in text


def test_the_report_of_nothing(home: Path) -> None:
    assert as_json(home, None)["running"] is False
    assert as_table(home, None) == f"Nothing runs in {home}."


def test_the_report_says_which_build_of_the_router_runs(home: Path) -> None:
    router = replace(READY, name="router", address="http://127.0.0.1:8080", build="compiled")
    state = live_state(services=(READY, router))
    assert as_table(home, state).endswith("http://127.0.0.1:8080 compiled")
    assert [service["build"] for service in as_json(home, state)["services"]] == ["", "compiled"]


def test_secrets_are_made_once_and_private(home: Path) -> None:
    first = secrets.load_or_make(home, {})
    assert set(first) == set(secrets.NAMES)
    assert len(set(first.values())) == len(first)
    assert secrets.load_or_make(home, {}) == first
    assert (home / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_secret_of_a_later_version_joins_the_old_ones(home: Path) -> None:
    (home / "secrets.json").write_text('{"DJANGO_SECRET_KEY": "kept"}')
    found = secrets.load_or_make(home, {})
    assert found["DJANGO_SECRET_KEY"] == "kept"
    assert set(found) == set(secrets.NAMES)


def test_a_secret_in_the_environment_wins_and_is_not_stored(home: Path) -> None:
    given = {"DJANGO_SECRET_KEY": "given", "PATH": "/bin"}
    found = secrets.load_or_make(home, given)
    assert found["DJANGO_SECRET_KEY"] == "given"
    assert "PATH" not in found
    assert "given" not in (home / "secrets.json").read_text()


def test_no_port_is_given_twice() -> None:
    given = [ports.free_ports(1)[0] for _ in range(600)]
    assert len(set(given)) == len(given)


def test_free_ports_differ_and_a_listener_is_noticed() -> None:
    first, second = ports.free_ports(2)
    assert first != second
    assert ports.is_free(first)
    with socket.socket() as taken:
        taken.bind((ports.HOST, first))
        taken.listen()
        assert not ports.is_free(first)
        assert ports.accepts(first)
    assert not ports.accepts(second)


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


def test_one_port_cannot_serve_both(home: Path) -> None:
    port, grpc = ports.free_ports(2)
    with pytest.raises(LaunchError, match=f"--port and --router-port both need {port}"):
        check_ports(Options(home, web_port=port, router_port=port, router_grpc_port=grpc))


def test_a_failed_start_is_explained_with_its_log(home: Path) -> None:
    log = home / "web.log"
    log.write_text("first\n\nlast\n")
    text = explain(StartFailed("web", "left with exit status 1", log), home)
    assert text.splitlines()[0] == f"web left with exit status 1. The end of {log}:"
    assert text.endswith("    first\n    last")
    log.write_text("could not extend file: No space left on device\n")
    full = explain(StartFailed("postgres", "left with exit status 1", log), home)
    assert full == f"the disk of {home} is full (postgres could not write)"


def test_a_log_tail_has_the_errors_of_a_group_and_no_frames(home: Path) -> None:
    log = home / "x.log"
    script = (
        "import asyncio\n"
        "async def wrong():\n"
        "    raise KeyError('transcription')\n"
        "async def main():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(wrong())\n"
        "        group.create_task(wrong())\n"
        "asyncio.run(main())\n"
    )
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stderr=file, check=False, timeout=PATIENCE_S)
    group, *errors = tail(log)
    assert group.startswith("ExceptionGroup: ")
    assert errors == ["KeyError: 'transcription'"] * 2


def test_a_log_tail_skips_blank_lines_and_missing_files(home: Path) -> None:
    log = home / "x.log"
    log.write_text("".join(f"{number}\n\n" for number in range(100)))
    assert tail(log, lines=2) == ["98", "99"]
    assert tail(home / "absent") == []


def test_statuses_are_named() -> None:
    assert describe_status(-9) == "SIGKILL"
    assert describe_status(3) == "exit status 3"


def test_plain_progress_says_each_change_once() -> None:
    out = io.StringIO()
    progress = Progress(out, clock=lambda: 5.0)
    waiting = ServiceState("web", address="http://127.0.0.1:8000")
    starting = replace(waiting, condition=Condition.STARTING, since=3.0)
    ready = replace(starting, condition=Condition.READY, seconds_to_ready=2.5)
    for item in (waiting, starting, starting, ready, ready):
        progress.show((item,))
    assert out.getvalue().splitlines() == [
        "  … web              starting      2.0 s  http://127.0.0.1:8000",
        "  ✓ web              ready         2.5 s  http://127.0.0.1:8000",
    ]


def test_the_banner_of_a_seeded_stack_has_all_that_is_needed(home: Path) -> None:
    demo = {"email": "demo@waypost.local", "password": "pass-word", "api_key": "wp_live_x"}
    (home / "demo.json").write_text(json.dumps(demo))
    text = banner(Options(home), detached=True)
    down, key = f"manage.py down --home {home}", f"manage.py keys create --org demo --home {home}"
    for needed in ("http://127.0.0.1:8000/", *demo.values(), "curl ", down, key):
        assert needed in text


def test_the_banner_says_what_this_machine_goes_without(home: Path) -> None:
    without = READY.now(Condition.UNAVAILABLE, reason="libpython3.11 is missing")
    state.save(home, live_state(services=(replace(without, name="triton-batched"),)))
    text = banner(Options(home), detached=False)
    assert "Without triton-batched: libpython3.11 is missing" in text


def test_the_first_call_is_one_line_that_a_shell_can_read() -> None:
    line = first_call("http://127.0.0.1:8080", "wp_live_x")
    assert "\n" not in line
    words = shlex.split(line)
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert json.loads(words[-1])["messages"]


def test_a_url_in_the_environment_replaces_the_embedded_service(home: Path) -> None:
    made = secrets.load_or_make(home, {})
    embedded = stack.build(Options(home), made)
    names = [service.name for service in embedded.services]
    assert names[:3] == ["postgres", "valkey", "migrate"]
    assert len(set(names)) == len(names)

    given = Options(home, database_url="postgres://db/x", broker_url="redis://mq/0")
    replaced = stack.build(given, made)
    assert {"postgres", "valkey"}.isdisjoint(service.name for service in replaced.services)
    assert replaced.environment["DATABASE_URL"] == "postgres://db/x"
    assert replaced.environment["BROKER_URL"] == "redis://mq/0"


def test_only_what_migrates_is_given_the_owner_of_the_tables(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets.load_or_make(home, {})
    layout = stack.build(Options(home), made)
    received = {service.name: " ".join(service.env.values()) for service in layout.services}
    assert {
        name for name, words in received.items() if made[secrets.DATABASE_PASSWORD] in words
    } == {"migrate"}
    assert made[secrets.SERVICES_PASSWORD] in received["web"]
    assert made[secrets.ROUTERS_PASSWORD] in received["router"]
    assert made[secrets.SERVICES_PASSWORD] not in received["router"]
    assert made[secrets.DATABASE_PASSWORD] in layout.owner_url

    given = Options(home, database_url="postgres://db/x", owner_url="postgres://owner@db/x")
    assert stack.build(given, made).owner_url == "postgres://owner@db/x"
    alone = stack.build(Options(home, database_url="postgres://db/x"), made)
    assert alone.owner_url == ""
    assert not any(secrets.OWNER_URL in service.env for service in alone.services)

    for name in secrets.NOT_FOR_SERVICES:
        monkeypatch.setenv(name, "hush")
    assert "hush" not in supervisor.inherited().values()


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


def test_every_need_names_a_service(home: Path) -> None:
    for options in (Options(home), Options(home, emulated=False, database_url="postgres://db/x")):
        services = stack.build(options, secrets.load_or_make(home, {})).services
        names = {service.name for service in services}
        assert all(set(service.needs) <= names for service in services)


def test_the_fleet_file_says_what_this_machine_cannot_run(home: Path) -> None:
    layout = stack.build(Options(home), secrets.load_or_make(home, {}))
    seed = next(service for service in layout.services if service.name == "seed")
    seed.prepare({"triton-batched": "no libpython", "emulator": "no port"})
    fleet = json.loads((home / "run" / "fleet.json").read_text())
    left_out = {worker["pool"]: worker["left_out"] for worker in fleet}
    assert left_out["triton-batched"] == "no libpython"
    assert left_out["triton-single"] == left_out["llama-fast"] == ""
    assert left_out["emulated-h100"] == "no port"
    assert all(worker["emulated"] == worker["pool"].startswith("emulated-") for worker in fleet)


def test_only_what_everything_needs_ends_the_start(home: Path) -> None:
    services = stack.build(Options(home), secrets.load_or_make(home, {})).services
    essential = {service.name for service in services if service.essential}
    assert essential == {"postgres", "valkey", "migrate", "seed", "router", "web"}


def test_payments_are_tried_at_a_stand_in_unless_somebody_has_keys_or_wants_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets.load_or_make(home, {})
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
    monkeypatch.setenv("WAYPOST_TEST_PAYMENTS", "1")
    layout = stack.build(Options(home), made)
    (stand_in,) = (one for one in layout.services if one.name == "stripe-stand-in")
    assert layout.environment["STRIPE_API_URL"] == stand_in.address
    assert len(layout.environment["STRIPE_WEBHOOK_SECRET"]) > 30
    for name, value in (("STRIPE_SECRET_KEY", "sk_live_1"), ("WAYPOST_TEST_PAYMENTS", "0")):
        with monkeypatch.context() as other:
            other.setenv(name, value)
            layout = stack.build(Options(home), made)
        assert "stripe-stand-in" not in {service.name for service in layout.services}
        assert "STRIPE_API_URL" not in layout.environment


def test_without_emulation_no_emulated_worker_is_named(home: Path) -> None:
    layout = stack.build(Options(home, emulated=False), secrets.load_or_make(home, {}))
    next(service for service in layout.services if service.name == "seed").prepare({})
    fleet = json.loads((home / "run" / "fleet.json").read_text())
    assert not any(worker["emulated"] for worker in fleet)
    assert layout.environment["WAYPOST_EMULATED"] == "0"


def test_a_pid_file_that_names_another_program_is_forgotten(home: Path) -> None:
    cluster = home / "pg"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("18\n")
    pid_file = cluster / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster}\n")
    Postgres(cluster, 1, "x", "y", "z").prepare()
    assert not pid_file.exists()


def test_health_checks_never_raise(home: Path) -> None:
    (port,) = ports.free_ports(1)
    assert not health.answers_http(port, "/")(home / "x.log")
    assert not health.logged("ready")(home / "absent.log")
    (home / "x.log").write_text("celery@host ready.\n")
    assert health.logged(" ready.")(home / "x.log")


def test_a_service_is_not_ready_before_its_log_says_so_in_each_start(home: Path) -> None:
    log = home / "x.log"
    ready = health.once_logged("warm", lambda log: True)
    assert not ready(log)
    log.write_text("listening\n")
    assert not ready(log)
    log.write_text("listening\nwarm\n")
    assert ready(log)
    # Cut when it grew too long; then of another start.
    log.write_text("")
    assert ready(log)
    log.rename(home / "x.1.log")
    log.write_text("listening\n")
    assert not ready(log)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_place_until_the_stack_has_settled() -> None:
    out = Terminal()
    progress = Progress(out, clock=lambda: 5.0)
    starting = ServiceState("web", condition=Condition.STARTING, since=3.0)
    progress.show((starting,))
    progress.show((starting.now(Condition.READY),))
    assert out.getvalue().count("\033[1F") == 1
    progress.settle()
    progress.show((starting.now(Condition.RESTARTING, reason="left with SIGKILL"),))
    assert out.getvalue().count("\033[1F") == 1
    assert out.getvalue().endswith("left with SIGKILL\n")


def test_several_routers_share_a_port_and_each_has_its_own_name_and_journal(home: Path) -> None:
    made = secrets.load_or_make(home, {})
    for port in (8080, 8083, 8084):
        (home / "journal" / str(port)).mkdir(parents=True)
    (home / "journal" / "8080-rejected.jsonl").touch()
    layout = stack.build(Options(home, routers=2), made)
    routers = {s.name: s for s in layout.services if s.name.startswith("router")}
    assert list(routers) == ["router-1", "router-2"]
    ports = [service.env["ROUTER_PORT"] for service in routers.values()]
    assert ports == ["8082", "8083"]
    assert {service.env["ROUTER_PUBLIC_PORT"] for service in routers.values()} == {"8080"}
    assert len({service.env["ROUTER_ID"] for service in routers.values()}) == 2

    # Those of earlier starts are settled before anybody is served.
    settling = {s.name: s.env["ROUTER_PORT"] for s in layout.services if "--settle" in s.argv}
    assert settling == {"settle-8080": "8080", "settle-8084": "8084"}
    assert all(set(settling) <= set(service.needs) for service in routers.values())


def test_a_port_of_its_own_that_a_router_cannot_have_is_named(home: Path) -> None:
    grpc, _, port = ports.free_ports(3)
    options = Options(home, web_port=port + 2, router_port=port, router_grpc_port=grpc, routers=2)
    with pytest.raises(LaunchError, match=f"--port and --router-port both need {port + 2}"):
        check_ports(options)
