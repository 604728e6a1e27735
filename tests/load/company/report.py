"""The report of a company's day, as a page. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tests.load import slo
from tests.load.company.alerts import Alert
from tests.load.company.seen import Felt

OUTSIDE_MIN = 30
"""With fewer calls outside of faults nobody can say that objectives held."""


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger has of the answered calls. ``proof`` is what ``ledger verify`` said."""

    answered: int
    lost: int
    twice: int
    proof: str
    balances: bool


@dataclass(frozen=True, slots=True)
class Day:
    """All that a report says. ``alerts`` began within two minutes of a fault, by fault."""

    began_s: float
    calls: int
    felt: Sequence[Felt]
    outside: Mapping[tuple[str, str], slo.Attainment]
    attain: float
    alerts: Mapping[str, set[Alert]]
    books: Books

    @property
    def kept(self) -> bool:
        """Whether nothing was lost or charged twice, and objectives were seen to hold."""
        counted = sum(kept.count for (_, timed), kept in self.outside.items() if timed == "total")
        is_met = counted >= OUTSIDE_MIN and slo.met(self.outside.values(), self.attain)
        return is_met and self.books.balances and not (self.books.lost or self.books.twice)


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } div { overflow-x: auto }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.bad { font-weight: 600; color: light-dark(#b00020, #ff8a80) }
"""


def page(day: Day) -> str:
    """A whole page of HTML, readable alone."""
    books = day.books
    verdict = "kept what it promises" if day.kept else "missed what it promises"
    return format_html(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>A company’s day</title>'
        "<style>{style}</style><h1>A company’s day</h1>"
        '<p>From {at} UTC, {calls} calls. <strong class="{mark}">It {verdict}.</strong></p>'
        "<h2>Faults</h2><div><table><thead><tr><th>Fault</th><th>What was done</th>"
        '<th class="n">Calls meanwhile</th><th class="n">Failed</th><th>With</th>'
        '<th class="n">Longest without an answer</th><th>Alerts that it began</th></tr>'
        "</thead><tbody>{faults}</tbody></table></div>"
        "<h2>Outside of faults</h2><div><table><thead><tr><th>Objective</th>"
        '<th class="n">Calls</th><th class="n">Errors</th><th class="n">p50 ms</th>'
        '<th class="n">p99 ms</th><th class="n">Met by</th></tr></thead>'
        "<tbody>{objectives}</tbody></table></div>"
        "<h2>Money</h2><p>Of {answered} answered calls the ledger lacks "
        '<b class="{lm}">{lost}</b>, and has charged <b class="{tm}">{twice}</b> twice. '
        '<span class="{pm}">{proof}</span></p>',
        style=SafeString(STYLE),
        at=datetime.fromtimestamp(day.began_s, UTC).strftime("%Y-%m-%d %H:%M"),
        calls=day.calls,
        mark=_mark(is_good=day.kept),
        verdict=verdict,
        faults=format_html_join("", ROW, (_fault(day, one) for one in day.felt)),
        objectives=_objectives(day),
        answered=books.answered,
        lost=books.lost,
        lm=_mark(is_good=not books.lost),
        twice=books.twice,
        tm=_mark(is_good=not books.twice),
        proof=books.proof,
        pm=_mark(is_good=books.balances),
    )


ROW = (
    '<tr><td>{}</td><td>{}</td><td class="n">{}</td><td class="n">{}</td><td>{}</td>'
    '<td class="n">{} s</td><td>{}</td></tr>'
)


def _fault(day: Day, felt: Felt) -> tuple[object, ...]:
    fault = felt.window.fault
    done = f"{', '.join(fault.services)} {fault.act}"
    if fault.frozen_s:
        done += f" for {fault.frozen_s:g} s"
    failed = ", ".join(
        f"{count} × {status or 'no answer'}" for status, count in sorted(felt.failed.items())
    )
    alerts = ", ".join(map(str, sorted(day.alerts.get(fault.name, ())))) or "none"
    count = sum(felt.failed.values())
    return fault.name, done, felt.calls, count, failed, f"{felt.longest_s:.1f}", alerts


def _objectives(day: Day) -> SafeString:
    rows = []
    for (kind, timed), kept in day.outside.items():
        if kept.count:
            share = format_html(
                '<span class="{}">{}</span>',
                _mark(is_good=kept.share >= day.attain),
                f"{kept.share:.2%}",
            )
            name = f"{kind}, {timed} {kept.slo_ms:g} ms"
            p50, p99 = f"{kept.percentile_ms(0.5):.0f}", f"{kept.percentile_ms(0.99):.0f}"
            rows.append((name, kept.count, kept.errors, p50, p99, share))
    cells = '<tr><td>{}</td><td class="n">{}</td>' + '<td class="n">{}</td>' * 4 + "</tr>"
    return format_html_join("", cells, rows)


def _mark(*, is_good: bool) -> str:
    return "" if is_good else "bad"
