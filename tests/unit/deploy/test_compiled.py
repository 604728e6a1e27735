"""What `make compile` compiles, what it leaves alone, and how a build is found again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.compiled import LEFT_OUT, all_structs, obstacle, structs_apart, write_package
from router import build
from router.build import SOURCES, BuildMissing, build_folder, package_folder

HOT = (
    "contracts/record.py",
    "domain/keys.py",
    "domain/pricing.py",
    "ingress/api.py",
    "ingress/faces/openai.py",
    "ingress/http/exchange.py",
    "ingress/http/http1.py",
    "ingress/http/http1_bounds.py",
    "ingress/http/request_target.py",
    "metering/journal.py",
    "metering/lease.py",
    "pipeline/access/authenticate.py",
    "pipeline/attempts/attempts.py",
    "pipeline/attempts/dispatch.py",
    "pipeline/attempts/race.py",
    "pipeline/gateway.py",
    "pipeline/plans/eligibility.py",
    "pipeline/plans/plan.py",
    "pipeline/settlement/route_report.py",
    "pipeline/settlement/settle.py",
    "pipeline/settlement/trace.py",
    "upstream/connection.py",
    "upstream/http.py",
    "upstream/openai_http.py",
    "upstream/sse.py",
)
"""The modules that every call uses, in addition to scheduling."""

MODULE = '''"""A module."""

from msgspec import Struct

LEAST = 1
MOST = 2


class Part(Struct, frozen=True):
    size: int = LEAST


def whole(parts: list[Part]) -> int:
    return min(sum(part.size for part in parts), MOST)
'''


def test_the_hot_path_is_compiled(tmp_path: Path) -> None:
    written = {str(path.relative_to(tmp_path)) for path in write_package(SOURCES, tmp_path)}
    scheduling = {
        str(path.relative_to(SOURCES))
        for path in (SOURCES / "scheduling").rglob("*.py")
        if path.name != "__init__.py"
    }
    plain = (scheduling | set(HOT)) - written
    assert not plain, {name: obstacle((SOURCES / name).read_text()) for name in plain}


def test_the_copy_has_every_module(tmp_path: Path) -> None:
    write_package(SOURCES, tmp_path)
    for path in SOURCES.rglob("*.py"):
        assert (tmp_path / path.relative_to(SOURCES)).exists()


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_there(name: str) -> None:
    assert (SOURCES / name).exists()


def test_structs_lie_in_a_module_of_their_own_with_what_they_mention() -> None:
    rest, structs = structs_apart(MODULE, "package.module_structs")
    assert "class Part" not in rest
    assert "LEAST = 1" in structs
    assert "MOST = 2" in rest
    assert "def whole" in rest
    assert "from package.module_structs import LEAST, Part" in rest
    lines = MODULE.splitlines()
    assert rest.splitlines().index("MOST = 2") == lines.index("MOST = 2")
    kept = "class Part(Struct, frozen=True):"
    assert structs.splitlines().index(kept) == lines.index(kept)


def test_what_derives_from_a_struct_is_one() -> None:
    source = MODULE + "\n\nclass Long(Part, gc=False):\n    more: int = 0\n"
    rest, structs = structs_apart(source, "package.module_structs")
    assert "class Long" not in rest
    assert "class Long(Part, gc=False):" in structs
    assert "import LEAST, Long, Part" in rest


def test_what_derives_from_a_struct_of_another_module_is_one(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "z.py").write_text(MODULE)
    (package / "b.py").write_text("from package.z import Part\n\n\nclass Long(Part):\n    x: int\n")
    source = "from package.b import Long as L\n\n\nclass Longer(L):\n    y: int\n"
    (package / "a.py").write_text(source)
    known = all_structs(package)
    assert {"package.z.Part", "package.b.Long", "package.a.Longer"} <= known
    rest, structs = structs_apart(source, "package.a_structs", known)
    assert "class Longer" not in rest
    assert "class Longer(L):" in structs


def test_a_module_without_structs_stays_as_it_is() -> None:
    source = "def twice(x: int) -> int:\n    return 2 * x\n"
    assert structs_apart(source, "m") == (source, "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("yield 1", "async generator"),
        ("try: ...\n    except OSError: await g()", "waits"),
        ("try: ...\n    finally: await g()", "waits"),
        ("async with lock: ...", "waits"),
        ("async with asyncio.timeout(1): await g()", ""),
        ("async with aclosing(parts): await g()", ""),
        ("try: ...\n    except OSError as e: ...\n    except KeyError as e: ...", "two types as e"),
        ("try: ...\n    except OSError as e: ...\n    except KeyError as k: ...", ""),
        ("await g()", ""),
    ],
)
def test_what_mypyc_compiles_wrongly_is_found(body: str, why: str) -> None:
    found = obstacle(f"async def f() -> None:\n    {body}\n")
    assert why in found
    assert bool(why) == bool(found)


def test_a_build_is_of_the_very_sources_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "router" / "module.py"
    module.parent.mkdir()
    module.write_text("A = 1\n")
    monkeypatch.setattr(build, "SOURCES", module.parent)
    monkeypatch.setattr(build, "BUILDS_FOLDER", tmp_path / "compiled")
    with pytest.raises(BuildMissing, match="make compile"):
        package_folder("compiled")
    made = build_folder() / "router"
    made.mkdir(parents=True)
    assert package_folder("compiled") == made
    assert package_folder("plain") == module.parent
    module.write_text("A = 2\n")
    with pytest.raises(BuildMissing, match="make compile"):
        package_folder("compiled")


def test_a_build_that_does_not_exist_is_refused_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "router", "--help"],
        env={**os.environ, "ROUTER_BUILD": "fast"},
        cwd=SOURCES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ROUTER_BUILD is 'fast'; it must be plain or compiled" in done.stderr
