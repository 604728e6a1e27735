"""The credential's file."""

from pathlib import Path

import pytest

from workers.agent.identity import Identity, StateBroken, identity_read, identity_write

ME = Identity("https://example.com", "gpu-a", "h200", "wp_agent_secret")


def test_it_is_kept_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert identity_read(folder, ME.marketplace) is None
    identity_write(folder, ME)
    assert identity_read(folder, ME.marketplace) == ME
    (kept,) = folder.iterdir()
    assert kept.stat().st_mode & 0o077 == 0


def test_it_is_shown_to_no_other_marketplace(tmp_path: Path) -> None:
    identity_write(tmp_path, ME)
    with pytest.raises(StateBroken, match=r"is for https://example\.com"):
        identity_read(tmp_path, "https://elsewhere.com")


def test_a_torn_file_is_said_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text('{"name"')
    with pytest.raises(StateBroken, match="cannot be read"):
        identity_read(tmp_path, ME.marketplace)
