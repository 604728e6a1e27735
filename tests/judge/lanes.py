"""Run targets in parallel: a process each (:mod:`tests.judge.cell`), loads begin together."""

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.local.processes.child import prefix
from tests.judge.cell import GRACE_S
from tests.judge.figures.results import Result
from tests.judge.gateways.gateway import READY_S
from tests.judge.gateways.peers import ORACLE, ROOT
from tests.judge.scenarios import Closed, Scenario
from tests.judge.timer import now_s

LEAD_S = 0.5
"""Between the last one's being ready and the load."""


class Bench(Struct, frozen=True):
    """Where it is measured: the gateways' core and ours, the peers' folder; other seconds and lanes
    than the scenario's.
    """

    cores: tuple[int, int]
    tools: Path
    seconds: float | None = None
    lanes: int | None = None


def rounds(targets: Sequence[str], seed: int, lanes: int) -> list[list[str]]:
    """Which targets run at the same time, as evenly as possible. No target is always first."""
    if not targets:
        return []
    at = seed % len(targets)
    turned = [*targets[at:], *targets[:at]]
    count = -(-len(turned) // lanes)
    return [turned[at::count] for at in range(count)]


async def measure(
    scenario: Scenario, targets: Sequence[str], seed: int, bench: Bench
) -> list[Result]:
    """A result a target. Of callers who wait for each other an oracle has nothing to say."""
    if isinstance(scenario.load, Closed):
        targets = [target for target in targets if target != ORACLE]
    results: list[Result] = []
    for side_by_side in rounds(targets, seed, bench.lanes or scenario.lanes):
        results += await _side_by_side(scenario, side_by_side, seed, bench)
    return results


async def _side_by_side(
    scenario: Scenario, targets: Sequence[str], seed: int, bench: Bench
) -> list[Result]:
    folders = [_folder(scenario, target, seed, bench) for target in targets]
    async with contextlib.AsyncExitStack() as stack:
        cells: list[Process] = []
        for target, folder in zip(targets, folders, strict=True):
            cell = await _start(scenario, target, seed, folder, bench)
            stack.push_async_callback(_end, cell)
            cells.append(cell)
        # A line says that one is ready; one that failed ends without.
        bound_s = 2 * READY_S + scenario.seconds + scenario.timeout_s + 2 * GRACE_S
        with contextlib.suppress(
            TimeoutError
        ):  # A process that did not end has no result, and is stopped.
            async with asyncio.timeout(bound_s):
                await asyncio.gather(*(_out(cell).readline() for cell in cells))
                start_s = now_s() + LEAD_S
                await asyncio.gather(*(_begin(cell, start_s) for cell in cells))
    return [
        _result(scenario, target, seed, folder)
        for target, folder in zip(targets, folders, strict=True)
    ]


def _folder(scenario: Scenario, target: str, seed: int, bench: Bench) -> Path:
    folder = bench.tools / "runs" / f"{scenario.name}-{target}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    return folder


async def _start(scenario: Scenario, target: str, seed: int, folder: Path, bench: Bench) -> Process:
    arguments = [scenario.name, target, "--seed", str(seed), "--folder", str(folder)]
    arguments += ["--tools", str(bench.tools), "--cores", *map(str, bench.cores)]
    if bench.seconds:
        arguments += ["--seconds", str(bench.seconds)]
    with (folder / "cell.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            # When this process ends, that one ends too, and with it its gateway.
            *(*prefix(signal.SIGTERM), sys.executable, "-m", "tests.judge.cell", *arguments),
            cwd=ROOT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            start_new_session=True,
        )


async def _begin(cell: Process, start_s: float) -> None:
    with contextlib.suppress(ConnectionError):  # It has failed.
        _in(cell).write(f"{start_s}\n".encode())
        await _in(cell).drain()
    await cell.wait()


async def _end(cell: Process) -> None:
    if cell.returncode is None:
        cell.terminate()
        await cell.wait()


def _result(scenario: Scenario, target: str, seed: int, folder: Path) -> Result:
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode((folder / "result.json").read_bytes(), type=Result)
    why = f"see {folder / 'cell.log'}"
    return Result(scenario.name, target, seed, time.strftime("%F %T"), failed=why)


def _in(cell: Process) -> asyncio.StreamWriter:
    assert cell.stdin is not None
    return cell.stdin


def _out(cell: Process) -> asyncio.StreamReader:
    assert cell.stdout is not None
    return cell.stdout
