"""The import contracts of pyproject.toml hold, and each of them can fail.

Every contract gets one planted violation, in a copy of the sources: a contract that nothing can
break guards nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = "deploy/sdk"
PACKAGES = ("router", "marketplace", "workers", "deploy")
CONTRACT_LINE = re.compile(r"^(?P<name>.+) (?P<verdict>KEPT|BROKEN)(?: \(.+\))?$", re.MULTILINE)
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Violation:
    """A module that breaks exactly the contract of this name."""

    contract: str
    module: str
    code: str


VIOLATIONS = (
    Violation(
        "The data plane never imports Django or the control plane",
        "router/planted.py",
        "import django\n",
    ),
    Violation(
        "The control plane sees only the router's contracts and domain",
        "marketplace/usage/planted.py",
        "import router.metering.lease\n",
    ),
    Violation(
        "The job processes call the marketplace, never the reverse",
        "marketplace/catalog/planted.py",
        "import workers.celery_app\n",
    ),
    Violation(
        "An app imports only what stands below it",
        "marketplace/accounts/planted.py",
        "import marketplace.catalog.models\n",
    ),
    Violation(
        "The line runs one way",
        "router/domain/planted.py",
        "import router.pipeline.plans.plan\n",
    ),
    Violation(
        "A room of the scheduler imports only what stands below it",
        "router/scheduling/fleet/planted.py",
        "import router.scheduling.caches.affinity\n",
    ),
    Violation(
        "A room of ingress imports only what stands below it",
        "router/ingress/oip/planted.py",
        "import router.ingress.faces.table\n",
    ),
    Violation(
        "A room of the pipeline imports only what stands below it",
        "router/pipeline/plans/planted.py",
        "import router.pipeline.access.authenticate\n",
    ),
    Violation(
        "A room of the simulator imports only what stands below it",
        "router/simulator/slots/planted.py",
        "import router.simulator.engines.kv_cache\n",
    ),
    Violation(
        "Adapters, upstream and metering know ports, contracts and domain only",
        "router/metering/planted.py",
        "import router.scheduling.ticket\n",
    ),
    Violation(
        "Only the composition root knows the adapters",
        "router/pipeline/plans/planted.py",
        "import router.adapters.memory\n",
    ),
    Violation(
        "Domain and scheduling are pure",
        "router/scheduling/fleet/planted.py",
        "import time\n",
    ),
    Violation(
        "The worker agent stands alone on its host",
        "workers/agent/planted.py",
        "import django\n",
    ),
    Violation(
        "A room of the launcher imports only what stands below it",
        "deploy/local/processes/planted.py",
        "import deploy.local.home.secrets\n",
    ),
    Violation(
        "The SDK stands alone where it is installed",
        f"{SDK}/waypost/planted.py",
        "import router.domain.money\n",
    ),
    Violation(
        "What the SDK decides is apart from its transports",
        f"{SDK}/waypost/api/planted.py",
        "import httpx\n",
    ),
    Violation(
        "The product does not call itself by its SDK",
        "workers/planted.py",
        "import waypost\n",
    ),
)


def contracts() -> list[str]:
    """Names of the contracts that pyproject.toml declares."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def lint(folder: Path) -> dict[str, str]:
    """Run import-linter over a folder; KEPT or BROKEN by contract."""
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=folder,
        # Before the SDK that is installed.
        env={**os.environ, "PYTHONPATH": str(folder / SDK)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    verdicts = {match["name"]: match["verdict"] for match in CONTRACT_LINE.finditer(run.stdout)}
    assert verdicts, f"import-linter judged nothing:\n{run.stdout}\n{run.stderr}"
    assert (run.returncode != 0) == ("BROKEN" in verdicts.values()), run.stdout
    return verdicts


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the Python packages and of their contracts, to be spoiled."""
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            copy = tmp_path / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_the_sources_keep_every_contract() -> None:
    assert lint(ROOT) == dict.fromkeys(contracts(), "KEPT")


def test_every_contract_has_a_planted_violation() -> None:
    assert [violation.contract for violation in VIOLATIONS] == contracts()


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.contract)
def test_a_planted_violation_breaks_its_contract_and_no_other(
    sources: Path, violation: Violation
) -> None:
    planted = sources / violation.module
    assert not planted.exists()
    planted.write_text(violation.code)

    broken = [name for name, verdict in lint(sources).items() if verdict == "BROKEN"]

    assert broken == [violation.contract]
