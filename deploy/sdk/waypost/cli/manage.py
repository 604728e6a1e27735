"""``usage``, ``bench``, ``advise``, ``whatif``: over the management API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

from waypost.cli import show
from waypost.cli.app import Json, Limit, Organisation, app, client, pairs
from waypost.cli.exits import INTERRUPTED, NOT_ALL_ANSWERED
from waypost.shapes import Json as Document

SLO = re.compile(r"p(?P<percentile>\d{2}(?:\.\d+)?)=(?P<time>\d+(?:\.\d+)?)(?P<unit>ms|s)?")
SIDES = ("really", "now", "then")
METRICS = ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "queue_ms", "good", "errors")

bench = typer.Typer(help="Benchmarks.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@app.command()
def usage(
    range_: Annotated[
        str, typer.Option("--range", metavar="R", help="1h, 24h, 7d, 30d or 90d.")
    ] = "24h",
    by: Annotated[str, typer.Option(help="model, key, member or outcome.")] = "model",
    organisation: Organisation = "",
    as_json: Json = False,
) -> None:
    """What was called, how fast that was, and what it cost."""
    with client() as waypost:
        try:
            found = waypost.usage.summary(organisation=organisation, range=range_, by=by)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--org") from error
    if as_json:
        show.as_json(found)
        return
    groups = [(group["name"], group["figures"]) for group in found["groups"]]
    if found.get("others_count"):
        groups.append((f"{found['others_count']} others", found["others"]))
    groups.append(("all", found["totals"]))
    rows = [(name, *_figures(figures)) for name, figures in groups]
    columns = (by, "calls", "failed", "tokens in", "out", "p50 ms", "p95 ms", "cost")
    show.table(columns, rows, empty="There were no calls.")


def _figures(figures: Document) -> tuple[Any, ...]:
    names = ("calls", "failed", "tokens_in", "tokens_out", "total_ms_p50", "total_ms_p95")
    return (*(figures.get(name) for name in names), show.usd(figures.get("charge_nano")))


# --- benchmarks -------------------------------------------------------------------------------


@bench.command("list")
def bench_list(
    model: Annotated[str | None, typer.Option(metavar="MODEL")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """The newest."""
    with client() as waypost:
        found = waypost.benchmarks.list(model=model, limit=limit)
    if as_json:
        show.as_json(found)
        return
    names = ("id", "model", "target", "scenario", "state", "emulated", "ended_at")
    rows = [[one.get(name) for name in names] for one in found]
    show.table(names, rows, empty="There are none.")


@bench.command("show")
def bench_show(benchmark_id: int, as_json: Json = False) -> None:
    """One, with its points."""
    with client() as waypost:
        _bench_told(waypost.benchmarks.get(benchmark_id), as_json)


@bench.command("run")
def bench_run(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    deployment: Annotated[int | None, typer.Option(metavar="ID")] = None,
    worker: Annotated[str | None, typer.Option(metavar="ID")] = None,
    scenario: Annotated[
        str, typer.Option(help="offline, single_stream, multi_stream or server.")
    ] = "offline",
    setting: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Such as samples=100; repeat it.")
    ] = [],
    wait: Annotated[bool, typer.Option(help="Follow it to its end.")] = True,
    as_json: Json = False,
) -> None:
    """Measure a deployment, one of its workers, or without either the router. For who may."""
    target = "worker" if worker else "deployment" if deployment else "route"
    fields: dict[str, Any] = {"settings": pairs(setting, "--setting", _number)}
    fields |= {"deployment": deployment} if deployment else {}
    fields |= {"worker": worker} if worker else {}
    with client() as waypost:
        made = waypost.benchmarks.start(model, target=target, scenario=scenario, **fields)
        if wait:
            command = f"waypost bench show {made['id']}"
            made = _last(waypost.benchmarks.follow(int(made["id"])), command)
    _bench_told(made, as_json)
    if wait and made.get("state") != "done":
        raise typer.Exit(NOT_ALL_ANSWERED)


def _number(text: str) -> float | str:
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text


def _bench_told(found: Document, as_json: bool) -> None:
    if as_json:
        show.as_json(found)
        return
    names = ("id", "model", "target", "scenario", "state", "stage", "error", "emulated", "ended_at")
    show.facts({name: found.get(name) for name in names})
    rows = [
        (
            point.get("load"),
            point.get("samples"),
            point.get("errors"),
            point.get("throughput_hz"),
            (point.get("latency") or {}).get("p50_ms"),
            (point.get("latency") or {}).get("p99_ms"),
            point.get("valid"),
        )
        for point in found.get("points") or ()
    ]
    columns = ("load", "samples", "errors", "per second", "p50 ms", "p99 ms", "valid")
    show.table(columns, rows, empty="It has no points yet.")


# --- planning ---------------------------------------------------------------------------------


@app.command()
def advise(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    rate: Annotated[float, typer.Option(metavar="HZ", help="Calls a second, in the mean.")],
    slo: Annotated[str, typer.Option(metavar="p99=800", help="ms, or p95=2s; end to end.")],
    peak: Annotated[float, typer.Option(help="Peak over mean rate.")] = 1.0,
    prompt_tokens: Annotated[float, typer.Option()] = 64.0,
    completion_tokens: Annotated[float, typer.Option()] = 64.0,
    rows: Annotated[float, typer.Option(help="Rows or images of a call.")] = 1.0,
    budget: Annotated[float, typer.Option(metavar="USD", help="An hour; 0 is none.")] = 0.0,
    spare: Annotated[bool, typer.Option("--spare", help="With any one instance gone.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Emulate it, too.")] = False,
    organisation: Organisation = "",
    as_json: Json = False,
) -> None:
    """The cheapest fleet for a workload. Exit status 1 when there is none."""
    share, slo_ms = _slo(slo)
    question = {
        "model": model,
        "rate_hz": rate,
        "slo_ms": slo_ms,
        "share": share,
        "peak_factor": peak,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "rows": rows,
        "budget_usd": budget,
        "spare": spare,
    }
    with client() as waypost:
        try:
            made = waypost.advice.ask(question, organisation=organisation, check=check)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--org") from error
        if check:
            command = f"it is kept as advice {made['id']}, on the advisor's page"
            made = _last(waypost.advice.follow(str(made["id"])), command)
    if as_json:
        show.as_json(made)
    else:
        _fleet(made.get("answer") or {}, slo_ms)
    if not (made.get("answer") or {}).get("fleet"):
        raise typer.Exit(NOT_ALL_ANSWERED)


def _slo(text: str) -> tuple[float, float]:
    found = SLO.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(
            f"{text!r} does not look like p99=800 or p95=2s", param_hint="--slo"
        )
    scale = 1_000.0 if found["unit"] == "s" else 1.0
    return float(found["percentile"]) / 100, float(found["time"]) * scale


def _fleet(answer: Document, slo_ms: float) -> None:
    fleet = answer.get("fleet")
    if not fleet:
        bound = ", ".join(answer.get("binding") or ()) or "its SLO"
        show.output.print(f"No fleet does that. It would take another: {bound}.", markup=False)
        return
    names = ("count", "option", "hardware", "cost_usd", "utilisation", "evidence")
    columns = ("count", "option", "hardware", "$/h", "busy", "evidence")
    show.table(columns, [[line.get(name) for name in names] for line in fleet["lines"]], empty="")
    check = answer.get("check") or {}
    show.facts(
        {
            "an hour": f"${fleet['cost_usd']:.2f}",
            f"within {slo_ms:g} ms": f"{fleet['within']:.2%} by the model",
            "p99 ms": fleet.get("p99_ms"),
            "enough up to": f"{answer['rate_until_hz']:g} calls a second",
            "checked by emulation": f"{check['judged']} fleets" if check else "no (--check)",
            "confidence": answer.get("confidence"),
        }
    )


@app.command()
def whatif(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    since: Annotated[str, typer.Option(metavar="TIME", help="Like 2026-11-24T15:00Z.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="Not included.")],
    kind: Annotated[str | None, typer.Option(metavar="NAME", help="Another policy.")] = None,
    workers: Annotated[list[str], typer.Option(metavar="POOL=±N", help="More or fewer.")] = [],
    slots: Annotated[list[str], typer.Option(metavar="POOL=N", help="Of each worker.")] = [],
    speed: Annotated[list[str], typer.Option(metavar="POOL=X", help="0.5 is half as fast.")] = [],
    price: Annotated[list[str], typer.Option(metavar="DEPLOYMENT=X", help="So many times.")] = [],
    scale: Annotated[float, typer.Option(help="So many times the calls.")] = 1.0,
    slo: Annotated[float, typer.Option(metavar="MS", help="By when an answer is good.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Replay recorded calls under another policy, fleet or price. For the platform's staff.

    They are people, not keys: give the cookie `sessionid` of a signed-in one in WAYPOST_SESSION.
    """
    pools: dict[str, dict[str, Any]] = {}
    for name, texts, what in (
        ("workers", workers, int),
        ("slots", slots, int),
        ("speed", speed, float),
    ):
        for pool, value in pairs(texts, f"--{name}", what).items():
            pools.setdefault(pool, {})[name] = value
    question = {
        "model": model,
        "since": _time(since, "--since"),
        "until": _time(until, "--until"),
        "policy": {"kind": kind} if kind else {},
        "pools": pools,
        "prices": pairs(price, "--price", float),
        "scale": scale,
        "slo_ms": slo,
    }
    with client() as waypost:
        made = waypost.what_ifs.ask(question)
        command = f"it is kept as what-if {made['id']}, on the page What if?"
        made = _last(waypost.what_ifs.follow(str(made["id"])), command)
    if as_json:
        show.as_json(made)
    elif made.get("answer"):
        _sides(made["answer"])
    if made.get("state") != "done":
        show.aside.print(f"{made.get('state')}: {made.get('error')}", style="red", markup=False)
        raise typer.Exit(NOT_ALL_ANSWERED)


def _time(text: str, option: str) -> str:
    """With seconds and a zone, which is UTC where none is said."""
    try:
        # Python 3.10 does not read the Z.
        at = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} does not look like 2026-11-24T15:00Z", param_hint=option
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).isoformat()


def _sides(answer: Document) -> None:
    verdicts = {one["metric"]: one["verdict"] for one in answer.get("differences") or ()}
    rows = [
        (metric, *(answer[side].get(metric) for side in SIDES), verdicts.get(metric))
        for metric in METRICS
    ]
    rows.append(("charged", *(show.usd(answer[side].get("charge_nano")) for side in SIDES), None))
    show.table(("", *SIDES, "verdict"), rows, empty="")
    trusted = "reliable" if answer.get("trusted") else "NOT RELIABLE"
    calls = f"{answer.get('calls'):,} of {answer.get('total'):,} calls"
    kind = "emulated hardware" if answer.get("emulated") else "measured hardware"
    show.output.print(f"{calls}, {kind}; {trusted}", markup=False, highlight=False)


def _last(states: Iterable[Document], command: str) -> Document:
    """The last of what is followed, whose stage is shown meanwhile."""
    last: Document = {}
    try:
        with show.aside.status("queued") as status:
            for last in states:
                done = last.get("progress")
                share = f" {done:.0%}" if isinstance(done, float) else ""
                status.update(f"{last.get('state')}{share} {last.get('stage') or ''}")
    except KeyboardInterrupt:
        show.aside.print(f"\nIt goes on: {command}", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    return last
