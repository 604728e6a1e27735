"""The experiment as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.drift.figures import Window

STYLES = {
    "benchmarks alone": ("tab:red", ":"),
    "frozen estimates": ("tab:orange", "--"),
    "ours": ("tab:blue", "-"),
    "knew": ("black", "-."),
}


def chart(
    path: Path,
    by_arm: Mapping[str, Sequence[Window]],
    profiles_ms: Mapping[str, Sequence[tuple[float, float]]],
    true_ms: Mapping[str, float],
) -> None:
    """Mean and p99 around the drift, and the profiles in the minutes after it, as SVG."""
    # Seconds to load, and tests of the figures need no picture.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "waypost"  # The same figures make the same file.
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for axis, field, label in zip(
        axes, ("mean_ms", "p99_ms"), ("mean", "99th percentile"), strict=False
    ):
        for name, made in by_arm.items():
            colour, line = STYLES[name]
            at_s = [(row.from_s + row.to_s) / 2 for row in made]
            values = [getattr(row, field) for row in made]
            axis.plot(at_s, values, line, color=colour, label=name, linewidth=1.4)
        axis.axvline(0, color="grey", linewidth=0.8)
        axis.set(title=f"{label}, ms (5-s windows)", xlabel="seconds after the drift")
        axis.set_yscale("log")
        axis.grid(visible=True, which="both", alpha=0.25)
    axes[0].legend(fontsize=8)
    for number, (kind, history) in enumerate(sorted(profiles_ms.items())):
        colour = f"C{number}"
        axes[2].step(
            [at_s / 60 for at_s, _ in history],
            [ms for _, ms in history],
            where="post",
            color=colour,
            label=f"class {kind}",
        )
        axes[2].axhline(true_ms[kind], color=colour, linestyle=":", linewidth=0.8)
    axes[2].set(title="published profile, ms (dotted: true)", xlabel="minutes after the drift")
    axes[2].set_yscale("log")
    axes[2].grid(visible=True, which="both", alpha=0.25)
    axes[2].legend(fontsize=8)
    figure.suptitle(
        "EMULATED: the fastest pool becomes 4x slower, a middle one 2x faster, at 0.7 load"
    )
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # Matplotlib leaves blanks at line ends.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
