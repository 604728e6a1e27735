"""Launch settings of engines that are split over devices, checked against what they document.

``options/*.json`` holds the documented options that are used here, each with its type, its choices
or ``flag``, and the page that documents them.
"""

import functools
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.agent.addresses import EVERYWHERE, host_and_port

OPTIONS = Path(__file__).with_name("options")
MEETING_PORT, MEETING_PORTS = 20_000, 1_000
"""The processes of a gang meet at one of so many ports from the first, on the host of rank 0."""


class LaunchWrong(ValueError):
    """The engine has no such option, or not with this value; the message names it."""


@dataclass(frozen=True, slots=True)
class Split:
    """How a model is split, and which part this process has.

    ``tensor`` devices share each layer, ``pipeline`` groups of them follow one another. ``hosts``
    processes run them, an equal part each; this is that of ``rank``, and rank 0 is at ``head``.
    ``gang`` is the name of all of them.
    """

    tensor: int = 1
    pipeline: int = 1
    hosts: int = 1
    rank: int = 0
    head: str = ""
    gang: str = ""

    @property
    def devices_here(self) -> int:
        """How many devices this process takes. Raises :class:`LaunchWrong`."""
        devices, rest = divmod(self.tensor * self.pipeline, self.hosts)
        if rest:
            raise LaunchWrong(
                f"{self.tensor} × {self.pipeline} devices cannot be shared by {self.hosts} hosts"
            )
        return devices


def meeting_port(gang: str) -> int:
    """The same for all its processes, and another than that of a gang that it takes over from."""
    return MEETING_PORT + zlib.crc32(gang.encode()) % MEETING_PORTS


@functools.cache
def documented(engine: str) -> Mapping[str, Any]:
    """The engine's options as data."""
    found: Mapping[str, Any] = json.loads((OPTIONS / f"{engine}.json").read_text())
    return found


def vllm_words(
    model: str, served_name: str, slots: int, split: Split, host: str = EVERYWHERE
) -> tuple[str, ...]:
    """The command of vLLM; ``{port}`` is put in by who starts it. It listens at ``host``."""
    options: dict[str, object] = {
        "--host": host,
        "--port": "{port}",
        "--served-model-name": served_name,
        "--max-num-seqs": slots,
        "--tensor-parallel-size": split.tensor,
        "--pipeline-parallel-size": split.pipeline,
    }
    if split.hosts > 1:
        options |= {
            "--nnodes": split.hosts,
            "--node-rank": split.rank,
            "--master-addr": split.head,
            "--master-port": meeting_port(split.gang),
        }
    if split.rank:
        options["--headless"] = True
    return _words("vllm", [model], options)


def sglang_words(
    model: str, served_name: str, slots: int, split: Split, host: str = EVERYWHERE
) -> tuple[str, ...]:
    """The command of SGLang."""
    options: dict[str, object] = {
        "--model-path": model,
        "--host": host,
        "--port": "{port}",
        "--served-model-name": served_name,
        "--max-running-requests": slots,
        "--enable-metrics": True,
        "--tensor-parallel-size": split.tensor,
        "--pipeline-parallel-size": split.pipeline,
    }
    if split.hosts > 1:
        options |= {
            "--nnodes": split.hosts,
            "--node-rank": split.rank,
            "--dist-init-addr": host_and_port(split.head, meeting_port(split.gang)),
        }
    return _words("sglang", [], options)


def triton_instance_group(count: int, gpus: Sequence[int]) -> str:
    """The part of a model's ``config.pbtxt`` that says how many instances run, and where.

    ``count`` is for each of the GPUs, or on the CPU where there are none.
    """
    group: dict[str, object] = {"count": count, "kind": "KIND_GPU" if gpus else "KIND_CPU"}
    if gpus:
        group["gpus"] = list(gpus)
    known = documented("triton")
    for name, value in group.items():
        check(name, value, known["options"])
    if group["kind"] not in known["kinds"]:
        raise LaunchWrong(f"Triton documents no kind {group['kind']}")
    lines = "".join(f"    {name}: {value}\n" for name, value in group.items())
    return f"instance_group [\n  {{\n{lines}  }}\n]\n"


def check(name: str, value: object, known: Mapping[str, Any]) -> None:
    """Raises :class:`LaunchWrong` unless the option is documented, with such a value."""
    if name not in known:
        raise LaunchWrong(f"{name} is not among the documented options")
    kind = known[name]
    is_port = name == "--port" and value == "{port}"
    fits = {
        "int": is_port or (type(value) is int and value >= 0),
        "ints": isinstance(value, list) and all(type(item) is int and item >= 0 for item in value),
        "float": type(value) in (int, float),
        "str": isinstance(value, str) and value != "",
        "flag": value is True,
    }
    if not (value in kind if isinstance(kind, list) else fits[kind]):
        wanted = " | ".join(kind) if isinstance(kind, list) else kind
        raise LaunchWrong(f"{name} is {wanted}, not {value!r}")


def _words(
    engine: str, positional: Sequence[str], options: Mapping[str, object]
) -> tuple[str, ...]:
    known = documented(engine)
    words = [*known["program"], *positional]
    for name, value in options.items():
        check(name, value, known["options"])
        words += [name] if value is True else [name, str(value)]
    return tuple(words)


COMMANDS = {"vllm": vllm_words, "sglang": sglang_words}
"""The engines that the agent can start without a command."""
