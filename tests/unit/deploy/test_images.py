"""Images and compose file: that they parse, copy what exists, and start what exists."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from deploy.bootstrap import UV_VERSION
from deploy.local.services.postgres import OWNER, ROUTERS, SERVICES
from marketplace.shared.jobs.periodic import Queue
from router.settings import settings_from_env
from tests.architecture import pages
from tests.architecture.pages import REFERENCE, ROOT

IMAGES = ROOT / "deploy" / "images"
DOCKERFILE = IMAGES / "Dockerfile"
PINNED = re.compile(r":[\w.-]*\d[\w.-]*$|@sha256:[0-9a-f]{64}$")
FINAL = ("waypost", "agent")


def instructions() -> list[tuple[str, list[str]]]:
    """Name and words of each, in order; lines that go on are joined."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split()[1:]) for line in lines]


def stages() -> dict[str, list[tuple[str, list[str]]]]:
    """The instructions of each stage, without its FROM, by name."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for name, words in instructions():
        if name == "FROM":
            found[words[2]] = []
        elif found:
            found[list(found)[-1]].append((name, words))
    return found


def ignored(path: PurePosixPath) -> bool:
    """By `Dockerfile.dockerignore`: everything that is not let in, and what is taken out again."""
    rules = [
        line
        for line in (IMAGES / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    is_out = False
    for rule in rules:
        bare = rule.lstrip("!")
        if bare == "*" or path == PurePosixPath(bare) or PurePosixPath(bare) in path.parents:
            is_out = not rule.startswith("!")
    return is_out


def test_every_base_is_pinned_or_a_stage() -> None:
    defaults = dict(
        words[0].split("=", 1)
        for name, words in instructions()
        if name == "ARG" and "=" in words[0]
    )
    for name, words in instructions():
        if name == "FROM":
            base = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], words[0])
            assert base in stages() or PINNED.search(base), base


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    for name, words in instructions():
        if name != "COPY" or words[0].startswith("--from"):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert not ignored(PurePosixPath(source.rstrip("/"))), source


def test_what_comes_from_a_stage_comes_from_one_that_there_is() -> None:
    for name, words in instructions():
        if name == "COPY" and words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages()


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_runs_as_an_ordinary_user_and_has_no_secret(stage: str) -> None:
    made = stages()[stage]
    assert [words for name, words in made if name == "USER"] == [["10001:10001"]]
    assert made[-1][0] == "CMD"
    for name, words in made:
        if name in {"ENV", "ARG"}:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|PEPPER|KEY", " ".join(words))


def test_the_image_has_every_package_of_the_sources() -> None:
    """But for what only the local stack, the tests and the project's own tools use."""
    copied = {
        word.rstrip("/")
        for name, words in stages()["waypost"]
        if name == "COPY" and not words[0].startswith("--from")
        for word in words[:-1]
    }
    assert {"router", "marketplace", "workers", "manage.py", "deploy/local"} <= copied


def test_uv_is_that_of_the_lock() -> None:
    versions = set(re.findall(r"(?:ARG UV=|uv==)([\d.]+)", DOCKERFILE.read_text()))
    assert versions == {UV_VERSION}


# --- compose ---------------------------------------------------------------------------------


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((IMAGES / "compose.yaml").read_text())[
        "services"
    ]
    return found


def filled(values: Mapping[str, str]) -> dict[str, str]:
    return {name: re.sub(r"\$\{\w+:\?\}", "secret", value) for name, value in values.items()}


def ours() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in services().items() if "build" in each}


def test_images_are_pinned_and_ours_have_no_rights() -> None:
    for name, service in services().items():
        assert PINNED.search(service["image"]), name
    for name, service in ours().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_settings_are_those_that_the_code_reads() -> None:
    known = {pages.code(row[0])[0] for row in pages.rows(REFERENCE / "settings.md")}
    for name, service in ours().items():
        assert service["environment"].keys() <= known | {"CELERY_SKIP_CHECKS"}, name
    settings = settings_from_env(filled(services()["router"]["environment"]))
    assert services()["router"]["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]


def test_only_migrations_come_as_the_owner() -> None:
    with_owner = {name for name, each in ours().items() if "OWNER_PASSWORD" in str(each)}
    assert with_owner == {"migrate"}


def test_each_comes_as_the_role_that_up_gives_it() -> None:
    for name, each in ours().items():
        role = ROUTERS if name == "router" else SERVICES
        assert each["environment"]["DATABASE_URL"].startswith(f"postgres://{role}:"), name
    made = set(re.findall(r"CREATE ROLE (\w+)", (IMAGES / "roles.sh").read_text()))
    assert made == {OWNER, SERVICES, ROUTERS}


def test_commands_start_what_there_is() -> None:
    queues = set()
    for name, service in ours().items():
        words = service["command"]
        assert words[0] == "python", name
        if words[1] == "-m":
            assert find_spec(words[2]) is not None, name
        else:
            assert (ROOT / words[1]).exists(), name
        queues |= set(re.findall(r"--queues=(\S+)", " ".join(words)))
    assert queues == set(Queue)


def test_what_is_waited_for_mounted_and_named_exists() -> None:
    compose = yaml.safe_load((IMAGES / "compose.yaml").read_text())
    for name, service in services().items():
        assert service.get("depends_on", {}).keys() <= services().keys(), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            known = source in compose["volumes"] or (IMAGES / source).exists()
            assert known, f"{name}: {mount}"
        for value in filled(service.get("environment", {})).values():
            for host in re.findall(r"(?://|@)([a-z][a-z-]*):\d+", str(value)):
                assert host in services(), f"{name}: {value}"


def test_the_roles_are_those_of_the_how_to() -> None:
    script = (IMAGES / "roles.sh").read_text()
    how_to = (ROOT / "docs" / "how-to" / "use-your-own-postgresql-and-valkey.md").read_text()
    assert "GRANT SET ON PARAMETER waypost.ledger TO waypost;" in script
    assert "GRANT SET ON PARAMETER waypost.ledger TO waypost;" in how_to
