"""The fleet file: the workers that the launcher started, and their URLs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Weight = Annotated[float, Meta(gt=0)]


class FleetEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An LLM engine that runs a model. It holds the weights of the two sums of
    :class:`~router.domain.catalog.EngineCurve`, the most ``sequences`` it runs at once, and
    the ``kv_tokens`` its cache holds (0: not known).
    """

    first: tuple[Weight, Weight, Weight]
    step: tuple[Weight, Weight, Weight, Weight]
    sequences: Annotated[int, Meta(ge=1)]
    kv_tokens: Annotated[int, Meta(ge=0)] = 0


class FleetWorker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. ``priors`` gives mean service times in ms by public model name, where known;
    for an emulated worker its keys are also the models that it serves. ``engines`` describes
    the LLM engines by model. ``left_out`` is why it could not be started, ""
    if it was.
    """

    worker: str
    pool: str
    url: str
    protocol: str
    slots: int = 1
    emulated: bool = False
    priors: Mapping[str, float] = {}
    engines: Mapping[str, FleetEngine] = {}
    left_out: str = ""


class FleetInvalid(Exception):
    """The file is not a valid fleet; the message says where and why."""


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
