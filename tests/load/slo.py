"""Whether a day's calls met what was promised. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FIRST_BYTE = "first byte"
MISSED_EXIT_CODE = 3
DEFAULT_SLOS_MS = {
    ("chat", "total"): 10_000.0,
    ("streamed", FIRST_BYTE): 2_000.0,
    ("streamed", "total"): 10_000.0,
    ("embeddings", "total"): 500.0,
    ("tabular", "total"): 500.0,
    ("vision", "total"): 1_000.0,
}
"""By kind of call and by what is timed: milliseconds. For real models on two cores."""


@dataclass
class Attainment:
    """Counts of one objective. An error is a miss."""

    slo_ms: float
    within: int = 0
    count: int = 0
    errors: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, latency_ms: float, *, failed: bool) -> None:
        """One more call."""
        self.count += 1
        self.errors += failed
        self.within += not failed and latency_ms <= self.slo_ms
        if not failed:
            self.latencies_ms.append(latency_ms)

    @property
    def share(self) -> float:
        """Of all calls, those that met it; nobody has missed what was not asked for."""
        return self.within / self.count if self.count else 1.0

    def percentile_ms(self, share: float) -> float:
        """Nearest rank over the answered ones; 0 without any."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def fresh(slos_ms: Mapping[tuple[str, str], float] = DEFAULT_SLOS_MS) -> dict:
    """Nothing counted yet."""
    return {name: Attainment(slo_ms) for name, slo_ms in slos_ms.items()}


def parse_slos(text: str) -> dict[tuple[str, str], float]:
    """``embeddings=300,streamed/first byte=800`` over the defaults. Raises ``ValueError``."""
    slos = dict(DEFAULT_SLOS_MS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, milliseconds = part.partition("=")
        kind, _, timed = name.partition("/")
        key = (kind, timed or "total")
        if key not in slos:
            known = ", ".join("/".join(slo) for slo in slos)
            raise ValueError(f"no objective {name!r}; there are {known}")
        try:
            slos[key] = float(milliseconds)
        except ValueError:
            raise ValueError(f"{part!r}: milliseconds are a number") from None
    return slos


def report(attained: Mapping[tuple[str, str], Attainment], least: float) -> tuple[str, bool]:
    """A table, and whether each objective was met by at least this share of its calls."""
    lines = [
        f"{'objective':24s} {'calls':>7s} {'errors':>6s} {'p50 ms':>8s} {'p99 ms':>8s}  met by"
    ]
    for (kind, timed), kept in attained.items():
        if not kept.count:
            continue
        mark = "" if kept.share >= least else "  MISSED"
        lines.append(
            f"{f'{kind}, {timed} {kept.slo_ms:g} ms':24s} {kept.count:7d} {kept.errors:6d} "
            f"{kept.percentile_ms(0.5):8.0f} {kept.percentile_ms(0.99):8.0f}"
            f"  {kept.share:.2%}{mark}"
        )
    return "\n".join(lines), met(attained.values(), least)


def met(attained: Iterable[Attainment], least: float) -> bool:
    """Whether there were calls, and enough of each objective's were within it."""
    counted = [item for item in attained if item.count]
    return bool(counted) and all(count.share >= least for count in counted)
