"""A stack's state for people and for scripts. No secrets in either."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.local.home.state import HEALTHY, Phase, StackState


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def as_json(home: Path, found: StackState | None) -> dict[str, Any]:
    """Report `{home, running, healthy, phase, reason, since, services: [...]}`, times in UTC."""
    running = found is not None and found.is_live()
    if found is None or not (running or found.phase is Phase.FAILED):
        return {"home": str(home), "running": False, "healthy": False, "services": []}
    return {
        "home": str(home),
        "running": running,
        "healthy": found.is_healthy,
        "phase": str(found.phase),
        "reason": found.reason,
        "pid": found.launcher.pid,
        "since": _time(found.started_at),
        "services": [
            {
                "name": service.name,
                "condition": str(service.condition),
                "healthy": running and service.condition in HEALTHY,
                "since": _time(service.since),
                "pid": service.process.pid if service.process else None,
                "restarts": service.restarts,
                "address": service.address,
                "build": service.build,
                "reason": service.reason,
            }
            for service in found.services
        ],
    }


def as_table(home: Path, found: StackState | None) -> str:
    """Lay the same out in lines, with local times."""
    if found is not None and not found.is_live() and found.phase is Phase.FAILED:
        return f"Nothing runs in {home}; the last start failed: {found.reason}"
    if found is None or not found.is_live():
        return f"Nothing runs in {home}."
    lines = [f"{home}: {found.phase}, {'healthy' if found.is_healthy else 'not healthy'}"]
    for service in found.services:
        since = datetime.fromtimestamp(service.since).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006
        restarts = f" restarts {service.restarts}" if service.restarts else ""
        note = service.reason or " ".join(filter(None, (service.address, service.build)))
        line = f"  {service.name:<16} {service.condition:<12} since {since}{restarts}  {note}"
        lines.append(line.rstrip())
    return "\n".join(lines)
