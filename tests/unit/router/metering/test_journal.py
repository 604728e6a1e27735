"""The journal: what was written is read back, whatever was torn, and nothing is deleted early."""

import json
import time
from pathlib import Path

import pytest

from router.adapters.file_disk import FileDisk
from router.adapters.memory_disk import MemoryDisk
from router.app import open_journal
from router.contracts.journal import (
    HEADER,
    PAYLOAD_BYTES_MAX,
    frame,
    newest_records,
    read_segment,
)
from router.contracts.record import decode_record, encode_record
from router.metering import journal as module
from router.metering.journal import Journal, JournalBroken
from router.settings import SettingsInvalid
from tests.unit.router.records import record

PAYLOADS = [b"first", b"second record", b"third"]


def written(folder: Path) -> Path:
    """A segment with three records, left by a process that was killed."""
    journal = Journal(FileDisk(folder))
    for payload in PAYLOADS:
        journal.append(payload)
    journal.sync()
    (segment,) = folder.glob("*.journal")
    return segment


def test_a_killed_routers_records_are_recovered(tmp_path: Path) -> None:
    written(tmp_path)
    assert [payload for _, payload in Journal(FileDisk(tmp_path)).recovered] == PAYLOADS


def test_a_tail_torn_anywhere_loses_only_the_torn_record(tmp_path: Path) -> None:
    whole = written(tmp_path / "source").read_bytes()
    ends = [sum(HEADER.size + len(p) for p in PAYLOADS[: n + 1]) for n in range(len(PAYLOADS))]
    for length in range(len(whole) + 1):
        kept = sum(end <= length for end in ends)
        assert read_segment(whole[:length]).payloads == PAYLOADS[:kept], length


@pytest.mark.parametrize("damaged", range(len(PAYLOADS)))
def test_a_damaged_byte_anywhere_loses_only_its_own_record(damaged: int) -> None:
    frames = [frame(payload) for payload in PAYLOADS]
    begin = sum(map(len, frames[:damaged]))
    for at in range(len(frames[damaged])):
        raw = bytearray(b"".join(frames))
        raw[begin + at] ^= 0xFF
        found = read_segment(bytes(raw))
        assert found.payloads == PAYLOADS[:damaged] + PAYLOADS[damaged + 1 :], at
        assert found.lost_bytes == len(frames[damaged])
        assert found.lost_inside == (damaged < len(PAYLOADS) - 1)


@pytest.mark.parametrize(
    "junk", [b"\0" * 1_000, b"\xff" * 1_000, frame(b"cut short")[:-1], frame(b"x" * 300)[3:]]
)
def test_what_lies_between_records_is_passed_over(junk: bytes) -> None:
    """Zeros too, which a power loss may leave: read as frames they would be empty ones."""
    found = read_segment(junk + frame(b"first") + junk + frame(b"second") + junk)
    assert found.payloads == [b"first", b"second"]
    assert found.lost_bytes == 3 * len(junk)


def test_a_large_damaged_segment_is_read_in_little_time() -> None:
    payload = encode_record(record("7"))
    whole = frame(payload) * 2_000
    raw = bytearray(whole)
    raw[0] ^= 1
    begun_s = time.process_time()
    assert read_segment(whole).payloads == [payload] * 2_000
    sound_s = time.process_time() - begun_s
    assert read_segment(bytes(raw)).payloads == [payload] * 1_999
    assert time.process_time() - begun_s < 20 * sound_s + 0.1


def test_a_segment_is_deleted_once_all_of_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 30)
    journal = Journal(FileDisk(tmp_path))
    segments = [journal.append(payload) for payload in PAYLOADS]
    first = [s for s in segments if s == segments[0]]
    assert segments[-1] != segments[0]
    for acknowledged in first[:-1]:
        journal.acknowledge(acknowledged)
    assert (tmp_path / f"{segments[0]:08d}.journal").exists()
    journal.acknowledge(segments[0])
    assert not (tmp_path / f"{segments[0]:08d}.journal").exists()


def test_recovered_segments_stay_until_they_are_settled(tmp_path: Path) -> None:
    segment = written(tmp_path)
    again = Journal(FileDisk(tmp_path))
    for number, _ in again.recovered:
        assert segment.exists()
        again.acknowledge(number)
    assert not segment.exists()


def test_a_clean_end_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(FileDisk(tmp_path))
    journal.acknowledge(journal.append(b"x"))
    journal.close()
    assert list(tmp_path.iterdir()) == []


class Failing:
    """Raises when it is armed."""

    def __init__(self) -> None:
        self.failing = ""
        self.cut: int | None = None

    def __call__(self, what: str) -> int | None:
        if what == self.failing:
            raise OSError(28, "No space left on device")
        return self.cut if what == "append" else None


@pytest.mark.parametrize("what", ["append", "sync", "create"])
def test_a_disk_that_fails_breaks_the_journal_for_good(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 1)
    fault = Failing()
    journal = Journal(MemoryDisk(fault))
    journal.append(b"x")
    fault.failing = what
    if what == "sync":
        journal.sync()
    else:
        with pytest.raises(JournalBroken, match="No space left"):
            journal.append(b"y")
    fault.failing = ""
    assert "No space left" in journal.broken
    with pytest.raises(JournalBroken):
        journal.append(b"z")


def test_a_write_that_is_cut_short_is_torn_and_the_rest_is_kept() -> None:
    fault = Failing()
    disk = MemoryDisk(fault)
    journal = Journal(disk)
    journal.append(b"whole")
    fault.cut = 10
    with pytest.raises(JournalBroken, match="cut short at 10"):
        journal.append(b"torn")
    fault.cut = None
    assert [payload for _, payload in Journal(disk).recovered] == [b"whole"]


def test_what_is_synced_already_is_not_synced_again() -> None:
    synced: list[str] = []
    journal = Journal(MemoryDisk(synced.append))
    journal.append(b"x")
    journal.sync()
    once = synced.count("sync")
    journal.sync()
    assert synced.count("sync") == once == 1


def test_a_power_loss_takes_what_was_not_synced() -> None:
    disk = MemoryDisk()
    journal = Journal(disk)
    journal.append(b"synced")
    journal.sync()
    journal.append(b"lost")
    disk.lose_power(lambda unsynced: unsynced - 1)
    assert [payload for _, payload in Journal(disk).recovered] == [b"synced"]


def test_the_newest_record_of_a_call_counts() -> None:
    sent = [record("a", charge_nano=1), record("b"), record("a", charge_nano=2)]
    frames = [(number, encode_record(message)) for number, message in enumerate(sent)]
    calls, unreadable = newest_records([*frames, (3, b"junk")])
    assert [(c.record.request_id, c.record.charge_nano) for c in calls] == [("a", 2), ("b", 0)]
    assert [c.segments for c in calls] == [[0, 2], [1]]
    assert unreadable == [(3, b"junk")]


def test_a_failed_rotation_breaks_the_journal_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 1)
    folder = tmp_path / "journal"
    journal = Journal(FileDisk(folder))
    journal.append(b"kept")
    folder.rename(tmp_path / "moved")
    with pytest.raises(JournalBroken, match="No such file"):
        journal.append(b"x")
    assert journal.broken
    assert journal.damaged == 0
    journal.close()
    assert [payload for _, payload in Journal(FileDisk(tmp_path / "moved")).recovered] == [b"kept"]


def test_a_damaged_segment_is_said_kept_and_read_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    segment = written(tmp_path)
    damaged = b"\xff" * 20 + segment.read_bytes()
    segment.write_bytes(damaged)
    journal = Journal(FileDisk(tmp_path))
    assert [payload for _, payload in journal.recovered] == PAYLOADS
    assert segment.with_suffix(".torn").read_bytes() == damaged
    assert journal.damaged == 1
    (said,) = caplog.messages
    assert f"20 of {len(damaged)} bytes of {segment.name} are no record" in said
    for number, _payload in journal.recovered:
        journal.acknowledge(number)
    journal.close()
    later = Journal(FileDisk(tmp_path))
    assert later.damaged == 1, "another start does not hide it"
    segment.with_suffix(".torn").unlink()
    assert later.damaged == 0


def test_a_sound_journal_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path)
    assert Journal(FileDisk(tmp_path)).damaged == 0
    assert not caplog.messages


def test_an_oversized_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exceeds"):
        Journal(FileDisk(tmp_path)).append(b"x" * (PAYLOAD_BYTES_MAX + 1))


def test_a_record_of_before_hardware_time_is_read() -> None:
    fields = json.loads(encode_record(record("7", hardware_ms=5)))
    del fields["hardware_ms"]
    assert decode_record(json.dumps(fields)) == record("7", hardware_ms=0)


def test_a_journal_that_cannot_be_written_is_one_line_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsInvalid, match="WAYPOST_HOME"):
        open_journal(tmp_path / "file" / "journal")
