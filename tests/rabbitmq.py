"""A throw-away RabbitMQ on the loopback, for the tests of jobs (7 s of processor to start).

Its own script wants to be root or a dedicated user; Erlang is called as that script calls it.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from amqp.exceptions import AMQPError
from kombu import Connection

from deploy.bootstrap import TOOLS
from deploy.programs import RABBITMQ
from tests.embedded import START_TIMEOUT_S, STOP_TIMEOUT_S, wait_until
from tests.patience import PATIENCE_S
from tests.ports import free_ports

HOST = "127.0.0.1"
CONFIGURATION = """
listeners.tcp.1 = {host}:{port}
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 1MB
"""
WORDS = ("-noinput", "-s", "rabbit", "boot", "+W", "w", "-kernel")
# Few threads, none of which spins: they yield to each other, and on a busy machine to everybody
# else first, so that a start took minutes.
THREADS = ("+S", "1:1", "+SDio", "1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")
KERNEL = ("inet_dist_use_interface", "{127,0,0,1}", "prevent_overlapping_partitions", "false")


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Yield the URL (amqp://) of one that runs until the end of the block."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-rabbitmq-")))
        port, epmd_port, dist_port = free_ports(3)
        erlang, environment = _environment(home, port, epmd_port, dist_port)
        log = stack.enter_context((home / "log").open("wb"))
        # Erlang would start its port mapper by itself, and leave it behind.
        mapper = stack.enter_context(_child([f"{erlang}/epmd"], environment, log.fileno()))
        wait_until(lambda: _listens(epmd_port), START_TIMEOUT_S, "epmd did not listen")
        boot = ("-boot", f"{environment['ROOTDIR']}/bin/start_sasl")
        words = [f"{erlang}/erlexec", *THREADS, *WORDS, *KERNEL, *boot]
        server = stack.enter_context(_child(words, environment, log.fileno()))
        url = f"amqp://guest:guest@{HOST}:{port}//"

        def is_over() -> bool:
            return mapper.poll() is not None or server.poll() is not None

        def said() -> str:
            return (home / "log").read_text()[-2000:]

        try:
            wait_until(lambda: _answers(url) or is_over(), PATIENCE_S, "RabbitMQ did not answer")
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{said()}") from error
        if is_over():
            raise RuntimeError(f"RabbitMQ left at once:\n{said()}")
        yield url


def _environment(
    home: Path, port: int, epmd_port: int, dist_port: int
) -> tuple[str, dict[str, str]]:
    """The folder of Erlang's programs, and their arguments."""
    brought = TOOLS / RABBITMQ.package
    root = brought if brought.exists() else Path("/")
    erlang = _only(root, "usr/lib/erlang/erts-*") / "bin"
    server = _only(root, "usr/lib/rabbitmq/lib/rabbitmq_server-*")
    places = [*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
    (home / "rabbitmq.conf").write_text(CONFIGURATION.format(host=HOST, port=port))
    return str(erlang), {
        "PATH": f"{erlang}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(map(str, places)),
        "HOME": str(home),
        "ROOTDIR": str(erlang.parent.parent),
        "BINDIR": str(erlang),
        "EMU": "beam",
        "PROGNAME": "erl",
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_LIBS": str(server / "plugins"),
        "RABBITMQ_HOME": str(server),
        "RABBITMQ_PLUGINS_DIR": str(server / "plugins"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_NODENAME": f"waypost-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "logs"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
        "SYS_PREFIX": "",
    }


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if not found:
        raise FileNotFoundError(f"no {root / pattern}: python3 deploy/bootstrap.py test-programs")
    return found[-1]


@contextmanager
def _child(words: list[str], environment: dict[str, str], log: int) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        words, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


def _answers(url: str) -> bool:
    with suppress(OSError, AMQPError), Connection(url, connect_timeout=PATIENCE_S) as connection:
        connection.connect()
        return True
    return False
