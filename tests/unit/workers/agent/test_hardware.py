"""What ``nvidia-smi`` says, and what follows for the fingerprint."""

from pathlib import Path

import pytest

from workers.agent.hardware import (
    Device,
    HardwareUnknown,
    devices_found,
    devices_read,
    fingerprint,
)

H200 = Device("NVIDIA H200", 143_771, "570.86.15")


def test_its_lines_are_devices() -> None:
    said = "NVIDIA H200, 143771, 570.86.15\nNVIDIA GB10, [N/A], 580.1\n"
    assert devices_read(said, "", 0) == [H200, Device("NVIDIA GB10", 0, "580.1")]


def test_a_host_without_devices_is_a_cpu() -> None:
    assert devices_read("No devices were found\n", "", 6) == []
    assert devices_read("", "", 0) == []


@pytest.mark.parametrize(
    ("output", "errors", "status", "said"),
    [
        ("", "Failed to initialize NVML: Driver/library version mismatch", 18, "mismatch"),
        ("only a name\n", "", 0, "only a name"),
    ],
)
def test_a_driver_that_fails_is_no_cpu(output: str, errors: str, status: int, said: str) -> None:
    with pytest.raises(HardwareUnknown, match=said):
        devices_read(output, errors, status)


def test_without_the_program_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices_found() == []
    with pytest.raises(HardwareUnknown, match="--gpus names 0, but there are 0"):
        devices_found([0])


def test_chosen_devices_are_those_that_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'A, 1, 5'\necho 'B, 2, 5'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert devices_found([1]) == [Device("B", 2, "5")]


def test_the_fingerprint_changes_with_what_may_change_the_speed() -> None:
    one = fingerprint([H200], "cpu", {"vllm": "0.11"})
    assert one == fingerprint([H200], "cpu", {"vllm": "0.11"})
    others = {
        fingerprint([H200, H200], "cpu", {"vllm": "0.11"}),
        fingerprint([H200], "other cpu", {"vllm": "0.11"}),
        fingerprint([H200], "cpu", {"vllm": "0.12"}),
    }
    assert len(others | {one}) == 4
