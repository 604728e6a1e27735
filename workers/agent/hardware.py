"""What accelerators this host has, by ``nvidia-smi``."""

import csv
import hashlib
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

QUERY = ("name", "memory.total", "driver_version")
TIMEOUT_S = 20.0
NO_DEVICES = "No devices were found"
DEVICES_MAX = 64


class HardwareUnknown(Exception):
    """``nvidia-smi`` is there but does not say what there is."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator."""

    name: str
    memory_mib: int
    driver: str


def devices_found(chosen: Sequence[int] = ()) -> list[Device]:
    """The accelerators of this host, or the chosen ones by index; none where there is no driver.

    Raises :class:`HardwareUnknown`.
    """
    words = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(  # noqa: S603  # fixed words
            words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        found: list[Device] = []
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HardwareUnknown(f"nvidia-smi does not run: {error}") from error
    else:
        found = devices_read(ran.stdout, ran.stderr, ran.returncode)
    if missing := [index for index in chosen if index >= len(found)]:
        raise HardwareUnknown(f"--gpus names {missing[0]}, but there are {len(found)} devices")
    return [found[index] for index in chosen] if chosen else found


def devices_read(output: str, errors: str, status: int) -> list[Device]:
    """What ``nvidia-smi`` said. Raises :class:`HardwareUnknown`."""
    if NO_DEVICES in output + errors:
        return []
    if status != 0:
        said = (errors or output).strip().partition("\n")[0]
        raise HardwareUnknown(f"nvidia-smi failed with status {status}: {said}")
    rows = [row for row in csv.reader(io.StringIO(output), skipinitialspace=True) if row]
    return [_device(row) for row in rows[:DEVICES_MAX]]


def _device(row: Sequence[str]) -> Device:
    try:
        name, memory, driver = (value.strip() for value in row)
        # Some devices share the host's memory and have none of their own.
        return Device(name, int(memory) if memory.isdecimal() else 0, driver)
    except ValueError as error:
        raise HardwareUnknown(f"nvidia-smi said {', '.join(row)!r}") from error


def processor() -> str:
    """The name of this host's processor and how many of it there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.machine())} × {os.cpu_count() or 1}"


def fingerprint(devices: Sequence[Device], cpu: str, engine: Mapping[str, str]) -> str:
    """A digest that changes with what may change the speed: devices, processor, engine."""
    told = {"devices": [asdict(device) for device in devices], "cpu": cpu, "engine": dict(engine)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
