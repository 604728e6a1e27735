"""``python -m tests.architecture.graph FILE.svg``: what the marketplace's apps import.

Floors are those of the contract in pyproject.toml. An arrow is as thick as names are imported; one
that points up is red. ``--root DIR`` draws another checkout on the same floors. Printed are names
and lines by app.
"""

import argparse
import ast
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = "An app imports only what stands below it"
FLOOR, WIDTH, BOX = 1.0, 4.0, (0.62, 0.34)
INK, UP = "#5b6472", "#d0342c"


def floors() -> list[list[str]]:
    """The apps from the top floor to the lowest."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["name"] == CONTRACT]
    return [[app.strip() for app in floor.split("|")] for floor in layers]


def sources(root: Path) -> dict[Path, str]:
    """The app of every module, migrations left out."""
    folder = root / "marketplace"
    found = sorted(folder.rglob("*.py"))
    return {
        path: path.relative_to(folder).parts[0]
        for path in found
        if "migrations" not in path.parts and path.parent != folder
    }


def imported(modules: dict[Path, str]) -> Counter[tuple[str, str]]:
    """How many names each app imports of each other one."""
    names: set[tuple[str, str, str]] = set()
    for path, app in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("marketplace."):
                other = str(node.module).split(".")[1]
                names |= {(app, other, f"{path}:{node.module}:{n.name}") for n in node.names}
    return Counter((app, other) for app, other, _ in names if app != other)


def draw(rows: list[list[str]], arrows: Counter[tuple[str, str]], path: Path) -> None:
    """Write the picture."""
    from matplotlib import pyplot
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    at = {
        app: (WIDTH * (place + 1) / (len(row) + 1), FLOOR * -number)
        for number, row in enumerate(rows)
        for place, app in enumerate(row)
    }
    figure, axes = pyplot.subplots(figsize=(9, 0.95 * len(rows)))
    for (app, other), names in sorted(arrows.items(), key=lambda arrow: arrow[1]):
        (x, y), (to_x, to_y) = at[app], at[other]
        is_up = to_y >= y
        arrow = FancyArrowPatch(
            (x, y - BOX[1] / 2 if not is_up else y + BOX[1] / 2),
            (to_x, to_y + BOX[1] / 2 if not is_up else to_y - BOX[1] / 2),
            connectionstyle=f"arc3,rad={0.3 if y - to_y > FLOOR else 0.08}",
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=0.5 + names / 18,
            color=UP if is_up else INK,
            alpha=0.9 if is_up else 0.45,
        )
        axes.add_patch(arrow)
    for app, (x, y) in at.items():
        corner = (x - BOX[0] / 2, y - BOX[1] / 2)
        axes.add_patch(FancyBboxPatch(corner, *BOX, boxstyle="round,pad=0.03", fc="white", ec=INK))
        axes.text(x, y, app, ha="center", va="center", fontsize=10)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(-FLOOR * len(rows) + 0.5, 0.5)
    axes.axis("off")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> int:
    """Draw, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, metavar="FILE.svg", nargs="?")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args()
    rows, modules = floors(), sources(options.root)
    known = {app for row in rows for app in row}
    rows += [[app] for app in sorted(set(modules.values()) - known)]
    arrows = imported(modules)
    height = {app: -number for number, row in enumerate(rows) for app in row}
    up = {pair: names for pair, names in arrows.items() if height[pair[1]] >= height[pair[0]]}
    lines: Counter[str] = Counter()
    for path, app in modules.items():
        lines[app] += len(path.read_text().splitlines())
    for app, count in sorted(lines.items(), key=lambda row: height[row[0]], reverse=True):
        print(f"{app:12} {count:6,} lines")
    print(f"{sum(lines.values()):19,} lines in all, {sum(up.values())} imported names point up")
    for (app, other), names in sorted(up.items()):
        print(f"  {app} -> {other}: {names}")
    if options.path is not None:
        draw(rows, arrows, options.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
