"""What is measured of each request, and the file that keeps it. No Django."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "samples.jsonl"
"""In the folder of a point: a JSON object a line, each a request."""


@dataclass(slots=True)
class Sample:
    """One request: when it was sent (s, of a monotonic clock), its times in ms, its tokens.

    ``server`` is the place of the server among those that are called in turn. ``prompt_tokens``, of
    which the engine had ``cached_tokens``, are 0 where it does not count them. ``ttft_ms``,
    ``tokens`` and the ``events`` that carried them are 0 where nothing is streamed. ``router_ms``
    is what a call through the router took beyond the worker's own time, and ``queue_ms`` the part
    of it that was waiting; both are -1 for other calls.
    """

    started_s: float
    total_ms: float = 0.0
    ttft_ms: float = 0.0
    tokens: int = 0
    queue_ms: float = -1.0
    router_ms: float = -1.0
    error: str = ""
    server: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    events: int = 0

    @property
    def tpot_ms(self) -> float:
        """Time per output token after the first, as MLPerf defines it; 0 with fewer than two."""
        if self.tokens < 2:
            return 0.0
        return (self.total_ms - self.ttft_ms) / (self.tokens - 1)


def samples_write(folder: Path, samples: Sequence[Sample]) -> None:
    """Keep the samples of a point."""
    with (folder / FILE).open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)


def samples_read(folder: Path) -> list[Sample]:
    """Those that LoadGen's process left."""
    with (folder / FILE).open(encoding="utf-8") as lines:
        return [Sample(**json.loads(line)) for line in lines]
