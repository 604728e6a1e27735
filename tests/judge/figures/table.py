"""Results as tables: one a scenario for the terminal, one of several scenarios for a document."""

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from router.simulator.engines.sessions import Load as Chats
from tests.judge.figures.percentiles import mean
from tests.judge.figures.results import Result, Summary
from tests.judge.gateways.peers import DIRECT, ORACLE
from tests.judge.scenarios import SCENARIOS, Closed, Poisson

BLOCK = re.compile(r"(<!-- judge ([\w -]+): begin -->\n).*?(<!-- judge: end -->)", re.DOTALL)
UNTRUSTED = "†"


class Column(Struct, frozen=True):
    """One figure of a result."""

    title: str
    figure: Callable[[Result], float]
    places: int = 0


def _of(figure: Callable[[Summary], float]) -> Callable[[Result], float]:
    return lambda result: figure(result.summary) if result.summary else 0.0


RATE = Column("calls/s", _of(lambda summary: summary.calls_hz), 1)
MEAN = Column("mean", _of(lambda summary: summary.mean_ms), 1)
P50 = Column("p50", _of(lambda summary: summary.p50_ms), 1)
P99 = Column("p99", _of(lambda summary: summary.p99_ms), 1)
FIRST = Column("first", _of(lambda summary: summary.first_ms), 1)
FIRST_P99 = Column("first p99", _of(lambda summary: summary.first_ms_p99), 1)
EVENT = Column("event", _of(lambda summary: summary.event_ms), 1)
GOOD = Column("good %", _of(lambda summary: summary.good_share * 100), 1)
HITS = Column("hits %", _of(lambda summary: summary.hit_share * 100), 1)
ERRORS = Column("errors", _of(lambda summary: summary.failed))
PENALISED = Column("penalised", _of(lambda summary: summary.penalised_ms), 1)
CPU = Column("CPU µs", lambda result: result.gateway_us)
LAG = Column("own lag", lambda result: result.lag_ms, 1)
BY_LOAD = {
    Poisson: (RATE, MEAN, P50, P99, GOOD, ERRORS, PENALISED, CPU, LAG),
    Closed: (RATE, MEAN, P50, P99, ERRORS, CPU),
    Chats: (RATE, FIRST, FIRST_P99, EVENT, MEAN, P99, GOOD, HITS, ERRORS, PENALISED, CPU, LAG),
}


def trusted(result: Result) -> bool:
    """Its own lag was small beside what it measured."""
    return result.lag_ms < SCENARIOS[result.scenario].lag_ms_max


def in_order(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by target, the best first: by the mean in which errors count as timeouts, or by
    calls a second where callers wait for each other.
    """
    by_target: dict[str, list[Result]] = {}
    for result in results:
        if result.summary is not None:
            by_target.setdefault(result.target, []).append(result)
    closed = results and isinstance(SCENARIOS[results[0].scenario].load, Closed)

    def rank(target: str) -> float:
        column, sign = (RATE, -1) if closed else (PENALISED, 1)
        return sign * mean([column.figure(result) for result in by_target[target]])

    return {target: by_target[target] for target in sorted(by_target, key=rank)}


def scenario_table(results: Sequence[Result]) -> str:
    """For a terminal: a line a target, means over the seeds, times in ms."""
    scenario = SCENARIOS[results[0].scenario]
    columns = BY_LOAD[type(scenario.load)]
    by_target = in_order(results)
    oracle_ms = mean([PENALISED.figure(result) for result in by_target.get(ORACLE, ())])
    titles = [f"{scenario.name:16}", *(f"{column.title:>10}" for column in columns)]
    lines = ["".join([*titles, f"{'/oracle':>10}" if oracle_ms else ""])]
    for target, measured in by_target.items():
        values = [mean([column.figure(sample) for sample in measured]) for column in columns]
        line = f"{target:16}" + "".join(
            f"{value:>10,.{column.places}f}" for column, value in zip(columns, values, strict=True)
        )
        if oracle_ms:
            penalised_ms = mean([PENALISED.figure(sample) for sample in measured])
            line += f"{penalised_ms / oracle_ms:>10.2f}"
        lines.append(line if all(map(trusted, measured)) else f"{line} {UNTRUSTED}")
        lines += _stages(measured)
    lines += [f"{result.target:16} failed: {result.failed}" for result in results if result.failed]
    if not all(trusted(item) for item in results if not item.failed):
        lines.append(
            f"{UNTRUSTED} not to be trusted: own lag of {scenario.lag_ms_max:g} ms or more"
        )
    return "\n".join(lines)


def _stages(measured: Sequence[Result]) -> list[str]:
    reports: list[str] = []
    for name in measured[0].stages:
        parts = [sample.stages[name] for sample in measured]
        reports.append(
            f"{name} {mean([part.mean_ms for part in parts]):.0f} / "
            f"{mean([part.p99_ms for part in parts]):.0f}, "
            f"{mean([part.failed for part in parts]):g} errors"
        )
    return [f"{'':16}  {'; '.join(reports)}"] if reports else []


def wanted(document: str) -> list[str]:
    """The scenarios whose tables a document has. Raises ``ValueError`` for one that is none."""
    names = [name for block in BLOCK.finditer(document) for name in block[2].split()]
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise ValueError(f"there is no scenario {unknown[0]!r}")
    return names


def fill(document: str, results: Sequence[Result]) -> tuple[str, list[str]]:
    """The document with its tables filled, and a line for each table that was left as it was."""
    left: list[str] = []

    def filled(block: re.Match[str]) -> str:
        names = block[2].split()
        rows = [[result for result in results if result.scenario == name] for name in names]
        for name, row in zip(names, rows, strict=True):
            if not any(item.summary for item in row):
                left.append(f"{block[2]}: {name} was not measured")
                return block[0]
            if not all(trusted(item) for item in row if item.summary):
                left.append(f"{block[2]}: {name} is not to be trusted, run it again")
                return block[0]
        return f"{block[1]}{comparison(rows)}\n{block[3]}"

    return BLOCK.sub(filled, document), left


def comparison(rows: Sequence[Sequence[Result]]) -> str:
    """For a document: a row a scenario, a column a target, in the order in which they were asked
    for.
    """
    every = [item for row in rows for item in row if item.summary]
    targets = list(dict.fromkeys(item.target for item in every))
    titles = {ORACLE: "*oracle*", DIRECT: "*none*", "ours": "**ours**"}
    lines = [f"| scenario | {' | '.join(titles.get(name, name) for name in targets)} |"]
    lines.append("|---" * (len(targets) + 1) + "|")
    for row in rows:
        by_target = in_order(row)
        cells = [_cell(by_target[name]) if name in by_target else "–" for name in targets]
        lines.append(f"| {row[0].scenario} | {' | '.join(cells)} |")
    days = sorted({result.at.split()[0] for result in every})
    seeds = len({result.seed for result in every})
    lag_ms = max(result.lag_ms for result in every)
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    runs = "one run" if seeds == 1 else f"means of {seeds} runs"
    lines += ["", f"{when}, {runs}; own lag (99th percentile) at most {lag_ms:.1f} ms."]
    return "\n".join(lines)


def _cell(measured: Sequence[Result]) -> str:
    load = SCENARIOS[measured[0].scenario].load

    def of(column: Column, places: int = 0) -> str:
        return f"{mean([column.figure(sample) for sample in measured]):,.{places}f}"

    if isinstance(load, Closed):
        return f"{of(RATE)}/s"
    failed = sum(ERRORS.figure(sample) for sample in measured)
    errors = f", {failed:.0f} errors" if failed else ""
    if SCENARIOS[measured[0].scenario].lanes == 1:
        return f"{of(P50, 2)} / {of(P99, 2)}{errors}"
    hits = f", hits {of(HITS)} %" if isinstance(load, Chats) else ""
    return f"{of(MEAN)} / {of(P99)}, {of(GOOD, 1)} %{hits}{errors}"
