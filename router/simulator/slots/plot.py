"""Draws a comparison: latency percentiles by policy, or over load."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from router.simulator.slots.compare import Figures

MARKS = "osv^D<>pP*X"


def plot(path: Path, title: str, by_load: Mapping[float, Sequence[Figures]]) -> None:
    """Write an SVG or PNG, by the name's ending. Raises ``ImportError`` without matplotlib."""
    mpl: Any = import_module("matplotlib")
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "waypost"  # The same figures make the same file.
    sheet: Any = import_module("matplotlib.pyplot")
    figure, axes = sheet.subplots(1, 3, figsize=(12, 4), sharex=True)
    loads = sorted(by_load)
    names = [figures.policy for figures in by_load[loads[0]]]
    for axis, (field, label) in zip(
        axes, (("mean_ms", "mean"), ("p50_ms", "p50"), ("p99_ms", "p99")), strict=True
    ):
        for number, name in enumerate(names):
            values = [getattr(by_load[load][number], field) for load in loads]
            mark = MARKS[number % len(MARKS)]
            axis.plot(loads, values, marker=mark, label=name, linewidth=1.2, markersize=4)
        axis.set_title(f"{label}, ms")
        axis.set_xlabel("load, share of capacity")
        axis.set_yscale("log")
        axis.grid(visible=True, which="both", alpha=0.25)
    axes[0].legend(fontsize=7)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    sheet.close(figure)
