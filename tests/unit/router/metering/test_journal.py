"""The journal: what was written is read back, whatever was torn, and nothing is deleted early."""

import os
from pathlib import Path

import pytest

from router.metering import journal as module
from router.metering.journal import FRAME, Journal, JournalBroken, read_segment

PAYLOADS = [b"first", b"second record", b"third"]


def written(folder: Path) -> Path:
    """A segment with three records, left by a process that was killed."""
    journal = Journal(folder)
    for payload in PAYLOADS:
        journal.append(payload)
    journal.sync()
    (segment,) = folder.glob("*.journal")
    return segment


def test_a_killed_routers_records_are_recovered(tmp_path: Path) -> None:
    written(tmp_path)
    assert [payload for _, payload in Journal(tmp_path).recovered] == PAYLOADS


def test_a_tail_torn_anywhere_loses_only_the_torn_record(tmp_path: Path) -> None:
    whole = written(tmp_path / "source").read_bytes()
    ends = [sum(FRAME.size + len(p) for p in PAYLOADS[: n + 1]) for n in range(len(PAYLOADS))]
    for length in range(len(whole) + 1):
        segment = tmp_path / "torn.journal"
        segment.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends)
        assert list(read_segment(segment)) == PAYLOADS[:kept], length


def test_a_damaged_record_ends_the_reading(tmp_path: Path) -> None:
    segment = written(tmp_path)
    raw = bytearray(segment.read_bytes())
    raw[FRAME.size + len(PAYLOADS[0]) + FRAME.size] ^= 1
    segment.write_bytes(raw)
    assert list(read_segment(segment)) == PAYLOADS[:1]


def test_a_segment_is_deleted_once_all_of_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 30)
    journal = Journal(tmp_path)
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
    again = Journal(tmp_path)
    for number, _ in again.recovered:
        assert segment.exists()
        again.acknowledge(number)
    assert not segment.exists()


def test_a_clean_end_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.acknowledge(journal.append(b"x"))
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_breaks_the_journal_for_good(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file)
    with pytest.raises(JournalBroken, match="No space left"):
        journal.append(b"x")
    with pytest.raises(JournalBroken):
        journal.append(b"y")
    assert journal.broken


def test_a_failed_rotation_breaks_the_journal_and_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 1)
    folder = tmp_path / "journal"
    journal = Journal(folder)
    journal.append(b"kept")
    folder.rename(tmp_path / "moved")
    with pytest.raises(JournalBroken, match="No such file"):
        journal.append(b"x")
    assert journal.broken
    journal.close()
    assert [payload for _, payload in Journal(tmp_path / "moved").recovered] == [b"kept"]


def test_a_damaged_segment_is_kept_for_whoever_has_to_find_out(tmp_path: Path) -> None:
    segment = written(tmp_path)
    damaged = b"\xff" * 20 + segment.read_bytes()
    segment.write_bytes(damaged)
    assert Journal(tmp_path).recovered == []
    assert segment.with_suffix(".torn").read_bytes() == damaged


def test_an_oversized_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exceeds"):
        Journal(tmp_path).append(b"x" * (module.RECORD_BYTES_MAX + 1))
