"""What every disk promises."""

from pathlib import Path

import pytest

from router.adapters.file_disk import FileDisk
from router.adapters.memory_disk import MemoryDisk
from router.ports.disk import Disk
from router.ports.taken import Taken


@pytest.fixture(params=["memory", "file"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "made")


def test_what_is_appended_is_read(disk: Disk) -> None:
    file = disk.create("b")
    assert file.append(b"one") == 3
    file.append(b"two")
    file.sync()
    file.close()
    disk.create("a").close()
    assert disk.names() == ["a", "b"]
    assert (disk.read("b"), disk.read("a")) == (b"onetwo", b"")


def test_a_file_is_created_once(disk: Disk) -> None:
    disk.create("a").close()
    with pytest.raises(FileExistsError):
        disk.create("a")
    with pytest.raises(FileNotFoundError):
        disk.read("none")


def test_a_copy_stays_when_the_file_goes(disk: Disk) -> None:
    file = disk.create("a")
    file.append(b"x")
    file.close()
    disk.copy("a", "b")
    disk.delete("a")
    disk.delete("a")
    assert (disk.names(), disk.read("b")) == (["b"], b"x")


def test_a_folder_on_disk_belongs_to_one_process(tmp_path: Path) -> None:
    FileDisk(tmp_path / "one").claim()
    FileDisk(tmp_path / "other").claim()
    with pytest.raises(Taken, match="WAYPOST_HOME"):
        FileDisk(tmp_path / "one").claim()
