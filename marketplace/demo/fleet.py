"""The fleet file: which workers the launcher has started, and where."""

from collections.abc import Mapping
from pathlib import Path

import msgspec


class FleetWorker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. ``priors`` gives mean service times in ms by public model name, where known;
    for an emulated worker its names are also the models that it serves. ``left_out`` is why
    it could not be started, "" where it was.
    """

    worker: str
    pool: str
    url: str
    protocol: str
    slots: int = 1
    emulated: bool = False
    priors: Mapping[str, float] = {}
    left_out: str = ""


class FleetInvalid(Exception):
    """The file is not a fleet; the message says where and why."""


def fleet_read(path: Path) -> list[FleetWorker]:
    """Parse the file. Raises :class:`FleetInvalid`."""
    try:
        fleet = msgspec.json.decode(path.read_bytes(), type=list[FleetWorker])
    except (OSError, msgspec.MsgspecError) as error:
        raise FleetInvalid(f"{path}: {error}") from error
    names = [entry.worker for entry in fleet]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise FleetInvalid(f"{path}: worker {min(repeated)!r} is listed twice")
    return fleet
