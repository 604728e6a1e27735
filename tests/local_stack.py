"""The whole product for a test: `manage.py up --detach`, and down again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.patience import PATIENCE_S
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
UP_TIMEOUT_S = 600
DOWN_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class LocalStack:
    """A home folder and its ports. Nothing of the test run's own environment reaches it.

    ``broker_url`` takes the place of the embedded Valkey. ``root`` is whose code runs.
    """

    home: Path
    web_port: int
    router_port: int
    router_grpc_port: int
    broker_url: str = ""
    root: Path = ROOT

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def router_url(self) -> str:
        return f"http://127.0.0.1:{self.router_port}"

    @property
    def demo(self) -> dict[str, str]:
        """The demo's email, password and api_key."""
        found: dict[str, str] = json.loads((self.home / "demo.json").read_text())
        return found

    def manage(
        self, *words: str, timeout_s: float = PATIENCE_S, knows_home: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a manage.py command next to this stack, which its environment says or its words."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "WAYPOST_", "ROUTER_"))
            and name not in {"DATABASE_URL", "MIGRATE_DATABASE_URL", "BROKER_URL"}
        }
        return subprocess.run(
            [sys.executable, str(self.root / "manage.py"), *words],
            cwd=self.root,
            # No automatic benchmarks while a test runs, and no process that no test of it uses.
            env={
                **inherited,
                **({"WAYPOST_HOME": str(self.home)} if knows_home else {}),
                **({"BROKER_URL": self.broker_url} if self.broker_url else {}),
                "WAYPOST_BENCHMARKS_AUTO": "0",
                "WAYPOST_TEST_PAYMENTS": "0",
            },
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        ports = ("--port", str(self.web_port), "--router-port", str(self.router_port))
        ports += ("--router-grpc-port", str(self.router_grpc_port))
        return self.manage("up", "--detach", *ports, *words, timeout_s=UP_TIMEOUT_S)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.manage("down", timeout_s=DOWN_TIMEOUT_S)


@contextlib.contextmanager
def running_stack(home: Path, *words: str, broker_url: str = "") -> Iterator[LocalStack]:
    """Yield a stack that is up and healthy (`words` go to `up`); stop it afterwards."""
    stack = LocalStack(home, *free_ports(3), broker_url=broker_url)
    try:
        start(stack, *words)
        yield stack
    finally:
        stack.down()


@contextlib.contextmanager
def shared_stack(folder: Path) -> Iterator[LocalStack]:
    """Yield the one stack of all processes that name this folder.

    The first to come starts it, the last to leave stops it: each holds a lock on `users` that
    others share, and who gets it alone is the last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "stack.json"
    with (folder / "users").open("w") as users:
        with _alone(folder):
            if kept.exists():
                found = json.loads(kept.read_text())
                paths = {name: Path(found[name]) for name in ("home", "root")}
                stack = LocalStack(**{**found, **paths})
            else:
                stack = LocalStack(folder / "home", *free_ports(3))
                try:
                    start(stack)
                except BaseException:
                    stack.down()
                    raise
                kept.write_text(json.dumps(asdict(stack), default=str))
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield stack
        finally:
            with _alone(folder), contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                kept.unlink()
                stack.down()


def start(stack: LocalStack, *words: str) -> None:
    """Bring it up. Raises RuntimeError with what was printed."""
    up = stack.up(*words)
    if up.returncode != 0:
        raise RuntimeError(f"the stack did not start:\n{up.stdout}\n{up.stderr}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold off the others that start or stop; the kernel lets go of it when we die."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
