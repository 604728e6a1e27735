"""Commands of pages that no stack is needed for, run in a short form or without their effect."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.architecture import pages
from tests.architecture.pages import DOCS, ROOT, Snippet

pytestmark = pytest.mark.nightly

WORDS = r"(?P<words>[^|&;>#\n]*)"
SIMULATOR = re.compile(rf"-m router\.simulator\b{WORDS}")
OURS = re.compile(rf"make (?P<target>judge|rehearse|day)\b(?: ARGS=\"{WORDS}\")?")
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "judge": ("tests.judge",),
    "rehearse": ("tests.load", "--host", "http://127.0.0.1:9"),
    "day": ("tests.load.company",),
}
"""Modules, with a router before whose absence no stack is started."""
SHORT = ["--requests", "300", "--seeds", "1", "--duration", "2", "--jobs", "1"]
"""After the page's own words, of which it changes how much is simulated and nothing else."""
PLOT = "chart.svg"
UNKNOWN = "--no-such-option"
TIMEOUT_S = 300
CLUSTER = DOCS / "how-to" / "run-in-a-cluster.md"
KUBECTL = Path(sys.prefix) / "bin" / "kubectl"
DRY = f"""
told() {{  # Of what is run in a container, nothing is read.
  local words=()
  for word in "$@"; do [ "$word" != -- ] || break; words+=("$word"); done
  {KUBECTL} "${{words[@]}}" --help
}}
kubectl() {{
  case " $* " in
    *" create "*) {KUBECTL} "$@" --dry-run=client --output yaml ;;
    *" apply "*) told "$@" > /dev/null && {KUBECTL} kustomize "${{@: -1}}" ;;
    *) told "$@" ;;
  esac
}}
"""
"""What needs no cluster is done, and printed instead of sent. Of the rest the options are read."""


def lines_of(snippet: Snippet) -> list[str]:
    return snippet.text.replace("\\\n", " ").splitlines()


def shell() -> list[str]:
    """Every line of the pages' shell snippets."""
    found = [line for one in pages.snippets() if one.language == "sh" for line in lines_of(one)]
    return list(dict.fromkeys(found))


SIMULATIONS = [found["words"].strip() for line in shell() if (found := SIMULATOR.search(line))]
PROGRAM_LINES = [
    (found["target"], (found["words"] or "").strip())
    for line in shell()
    if (found := OURS.search(line))
]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("words", SIMULATIONS)
def test_a_simulation_runs_in_short(words: str, tmp_path: Path) -> None:
    plot = ["--plot", PLOT] if "--plot" in words else []
    command = [sys.executable, "-m", "router.simulator", *shlex.split(words), *SHORT, *plot]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    assert (tmp_path / PLOT).exists() == bool(plot)


@pytest.mark.parametrize(("target", "words"), PROGRAM_LINES)
def test_a_long_program_takes_its_words(target: str, words: str, tmp_path: Path) -> None:
    """It reads them and refuses one more: so the others are known, and nothing begins.

    A day would begin, as it starts a stack before its load is asked: its own words are read.
    """
    more = "--help" if target == "day" else UNKNOWN
    command = [sys.executable, "-m", *PROGRAMS[target], *shlex.split(words), more]
    done = run(command, tmp_path)
    assert done.returncode == (0 if target == "day" else 2), done.stderr
    if target != "day":
        assert done.stderr.rstrip().endswith(f"unrecognized arguments: {UNKNOWN}"), done.stderr


@pytest.mark.parametrize("snippet", [s for s in pages.snippets() if "kubectl " in s.text], ids=str)
def test_what_is_told_of_a_cluster_is_known_to_kubectl(snippet: Snippet, tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "kustomization.yaml").write_text(kustomization(tmp_path / "cluster"))
    done = run(["bash", "-euo", "pipefail", "-c", DRY + snippet.text], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def kustomization(folder: Path) -> str:
    """The page's own, over this repository's manifests."""
    (text,) = [s.text for s in pages.snippets() if s.page == CLUSTER and "Kustomization" in s.text]
    manifests = os.path.relpath(ROOT / "deploy" / "kubernetes", folder)
    return re.sub(r"github\.com/\S*/deploy/kubernetes(/\S*)\?ref=\S*", rf"{manifests}\1", text)
