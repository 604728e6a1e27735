"""An answer as a table of text."""

from collections.abc import Iterator

from marketplace.planning.whatif.answer import Answer
from marketplace.planning.whatif.replay.notes import note_text
from marketplace.planning.whatif.table import distances_of, pools_of, rows_of


def report(answer: Answer) -> str:
    """For a terminal: three columns, differences with their intervals, pools, calibration."""
    return "\n".join(_lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    label = "EMULATED hardware" if answer.emulated else "measured hardware"
    yield (
        f"{answer.calls:,} of {answer.total:,} calls, {answer.seeds} seeds, {label};"
        f" objective {answer.slo_ms:.0f} ms"
    )
    yield _line("", "really", "now", "then", "difference, 95 % interval")
    for row in rows_of(answer):
        yield _line(row.label, row.really, row.now, row.then, f"{row.span}  {row.verdict}")
    for pool in pools_of(answer):
        yield _line(f"share of {pool.pool}", pool.really, pool.now, pool.then)
    yield "calibration, replay of now against what happened:"
    for distance in distances_of(answer.calibration):
        yield f"  {distance.label}: {distance.apart} (at most ±{distance.most})"
    yield f"  {'trusted' if answer.trusted else 'NOT TO BE TRUSTED'}"
    for note in answer.notes:
        yield f"- {note_text(note)}"


def _line(label: object, really: str, now: str, then: str, difference: str = "") -> str:
    return f"{label!s:28s} {really:>12s} {now:>12s} {then:>12s}   {difference}".rstrip()
