"""``make compile``: compile copies of the router's modules with mypyc.

All modules are compiled except those that :data:`LEFT_OUT` and :func:`obstacle` name.
Structs are made by msgspec, from what a class says of its fields: in the copy they lie in modules
of their own, which stay as they are, so that what is written beside them can be compiled.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path
from types import UnionType

from router.build import BUILDS_FOLDER, SOURCES, build_folder

LEFT_OUT = {
    "__init__.py": "says where the build is",
    "__main__.py": "starts the rest",
    "adapters": "waits for disks, databases and collectors",
    "app.py": "starts and stops the rest, once",
    "build.py": "says where the build is",
    "compose.py": "puts the rest together, once",
    "contracts/genai.py": "names for traces, which few calls have",
    "contracts/engines/kv_events.py": "reads messages, which others do in C",
    "contracts/oip.py": "copies tensors, which others do in C",
    "contracts/sealing.py": "opens a key once",
    "contracts/snapshot.py": "is nothing but structs",
    "domain/errors.py": "has defaults of a class that one of its instances replaces",
    "ingress/account.py": "answers what is not a call",
    "ingress/description.py": "answers what is not a call",
    "ingress/listing.py": "answers what is not a call",
    "ingress/operations/metrics.py": "answers what is not a call",
    "ingress/operations/operations.py": "answers what is not a call",
    "ingress/operations/state.py": "answers what is not a call",
    "ingress/proxy/pass_through.py": "carries what is not a call",
    "logs.py": "is set up once",
    "pipeline/fleet/cluster.py": "beats now and then",
    "pipeline/fleet/engine_polls.py": "asks now and then",
    "pipeline/fleet/kv_following.py": "waits for engines",
    "pipeline/fleet/remembering.py": "saves now and then",
    "settings.py": "is read once",
    "simulator": "is slow where it asks the scheduler",
    "upstream/engine_reports.py": "asks now and then",
}
"""Files and folders of the package that would gain nothing, and why."""

ENDS_AT_ONCE = ("aclosing", "asyncio.timeout", "asyncio.timeout_at")
"""Contexts that do not wait on exit."""

PARTIAL = "partial-"
STRUCTS = "_structs"
"""What follows a module's name in the name of the module that its structs are put into."""


def main() -> int:
    """Compile unless it is done; return the exit status."""
    build = build_folder()
    if build.exists():
        print(f"The compiled router of these sources is in {build}.")
        return 0
    if lacking := missing():
        print(f"compile: {lacking}", file=sys.stderr)
        return 1
    began = time.monotonic()
    partial = BUILDS_FOLDER / f"{PARTIAL}{os.getpid()}"
    print("Compiling the router: five minutes of a processor …", flush=True)
    try:
        written = write_package(SOURCES, partial / SOURCES.name)
        _compile(partial, written)
        for old in BUILDS_FOLDER.iterdir():
            if not old.name.startswith(PARTIAL):
                shutil.rmtree(old)
        partial.rename(build)
    except CompileFailed as failed:
        print(f"compile: {failed}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for name, reason in left_plain(SOURCES).items():
        if reason not in LEFT_OUT.values():
            print(f"  {name} stays plain: it {reason}")
    print(f"Compiled {len(written)} modules in {time.monotonic() - began:.0f} s, into {build}.")
    return 0


def missing() -> str:
    """What is missing, in one line; "" when nothing is."""
    compiler = os.environ.get("CC", "cc").split()[0]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    how = "on Debian and Ubuntu, as root: apt-get install gcc python3-dev"
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler}); {how}"
    if not headers.exists():
        return f"there are no headers of this Python ({headers}); {how}"
    return ""


# --- what is compiled ----------------------------------------------------------------------


def left_plain(sources: Path) -> dict[str, str]:
    """The modules that are not compiled, and why, by their names in the package."""
    found = {}
    for path in sorted(sources.rglob("*.py")):
        name = path.relative_to(sources)
        reason = (
            LEFT_OUT.get(str(name)) or LEFT_OUT.get(name.parts[0]) or obstacle(path.read_text())
        )
        if reason:
            found[str(name)] = reason
    return found


def write_package(sources: Path, package: Path) -> list[Path]:
    """Copy the package with structs in separate modules; return the files to compile."""
    written: list[Path] = []
    plain, known = left_plain(sources), all_structs(sources)
    for source in sorted(sources.rglob("*.py")):
        name = source.relative_to(sources)
        copy = package / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text()
        if str(name) in plain:
            copy.write_text(text)
            continue
        module = ".".join((sources.name, *name.with_suffix("").parts))
        rest, structs = structs_apart(text, module + STRUCTS, known)
        copy.write_text(rest)
        if structs:
            copy.with_stem(copy.stem + STRUCTS).write_text(structs)
        if ast.parse(rest).body[1:]:
            written.append(copy)
    return written


def obstacle(source: str) -> str:
    """What mypyc cannot compile of a module, or compiles wrongly; "" when there is nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if name := _caught_as_two(node):
                return f"catches errors of two types as {name} ({node.name})"
            if isinstance(node, ast.AsyncFunctionDef):
                if _has(node.body, ast.Yield):
                    return f"has an async generator ({node.name})"
                if any(_waits_with_error(inner) for inner in ast.walk(node)):
                    return f"waits while it handles an error ({node.name})"
    return ""


def _caught_as_two(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A name that stands for caught errors of two types: mypyc takes all for the first."""
    types: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            caught = ast.unparse(node.type)
            if types.setdefault(node.name, caught) != caught:
                return node.name
    return ""


def _waits_with_error(node: ast.AST) -> bool:
    """Whether a part of a coroutine may wait while it handles an error.

    mypyc does not keep the error for it meanwhile: another coroutine's may be raised again then.
    """
    if isinstance(node, ast.AsyncWith):
        return any(
            ast.unparse(item.context_expr).split("(")[0] not in ENDS_AT_ONCE for item in node.items
        )
    handling = node.finalbody if isinstance(node, ast.Try) else []
    if isinstance(node, ast.ExceptHandler):
        handling = node.body
    return _has(handling, ast.Await | ast.AsyncFor | ast.AsyncWith)


def _has(body: Iterable[ast.stmt], kinds: type[ast.AST] | UnionType) -> bool:
    return any(isinstance(node, kinds) for part in body for node in ast.walk(part))


def all_structs(sources: Path) -> frozenset[str]:
    """Every struct of a package by its full name, whichever module its base is from."""
    bodies = {
        ".".join((sources.name, *path.relative_to(sources).with_suffix("").parts)): ast.parse(
            path.read_text()
        ).body
        for path in sources.rglob("*.py")
    }
    found: frozenset[str] = frozenset()
    while True:
        before = found
        for module, body in bodies.items():
            found |= {f"{module}.{name}" for name in _structs_in(body, found)}
        if found == before:
            return found


def _structs_in(body: list[ast.stmt], elsewhere: frozenset[str]) -> list[str]:
    """The structs that a module defines, in order; those ``elsewhere`` by their full names."""
    known = {"Struct", "msgspec.Struct"}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            known |= {
                alias.asname or alias.name
                for alias in node.names
                if f"{node.module}.{alias.name}" in elsewhere
            }
    found: list[str] = []
    for node in body:  # A base stands before what derives from it.
        if isinstance(node, ast.ClassDef) and known & {ast.unparse(base) for base in node.bases}:
            known.add(node.name)
            found.append(node.name)
    return found


def structs_apart(
    source: str, structs_module: str, elsewhere: frozenset[str] = frozenset()
) -> tuple[str, str]:
    """A module without its structs, and a module of these and of what they mention; or ``""``.

    ``elsewhere`` has the full names of structs that it may import and derive from. Every line stays
    where it is, for tracebacks.
    """
    body = ast.parse(source).body
    apart: dict[str, ast.stmt] = {}
    kept = {name: node for node in body for name in _names_bound(node)}
    wanted = _structs_in(body, elsewhere)
    while wanted:
        name = wanted.pop()
        if name in kept and name not in apart:
            apart[name] = kept[name]
            wanted += [n.id for n in ast.walk(kept[name]) if isinstance(n, ast.Name)]
    if not apart:
        return source, ""
    first = min(_lines(node).start for node in apart.values())
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    rest, structs = source.splitlines(), [""] * len(source.splitlines())
    for node in apart.values():
        for line in _lines(node):
            structs[line], rest[line] = source.splitlines()[line], ""
    for node in imports:
        for line in _lines(node):
            structs[line] = rest[line]
    rest[first] = f"from {structs_module} import {', '.join(sorted(apart))}"
    return "\n".join(rest) + "\n", "\n".join(structs) + "\n"


def _names_bound(node: ast.stmt) -> Iterable[str]:
    """The names that a statement of a module gives a meaning, but for imports."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _lines(node: ast.stmt) -> range:
    """From zero."""
    decorators = node.decorator_list if isinstance(node, ast.ClassDef | ast.FunctionDef) else []
    start = min([node.lineno, *(d.lineno for d in decorators)])
    return range(start - 1, node.end_lineno or start)


# --- compiling -----------------------------------------------------------------------------


PROGRAM = """
import sys
from mypyc.build import mypycify
from setuptools import setup

found = mypycify(
    ["--config-file=", "--ignore-missing-imports", *sys.argv[1:]],
    group_name="router.native", opt_level="2", debug_level="0",
)
setup(name="router", packages=[], ext_modules=found, script_args=["build_ext", "--inplace"])
"""
LOG = BUILDS_FOLDER.with_suffix(".log")


class CompileFailed(Exception):
    """Why there is no build, in one line."""


def _compile(folder: Path, files: list[Path]) -> None:
    """Build extension modules of files of the package in ``folder``, beside them.

    Raises ``CompileFailed``.
    """
    words = [str(path.relative_to(folder)) for path in files]
    with LOG.open("w") as log:
        done = subprocess.run(
            (sys.executable, "-c", PROGRAM, *words),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = [line for line in LOG.read_text().splitlines() if "error" in line]
        raise CompileFailed(f"{[*lines, f'exit status {done.returncode}'][0]} (all of it: {LOG})")
    shutil.rmtree(folder / "build")


if __name__ == "__main__":
    sys.exit(main())
