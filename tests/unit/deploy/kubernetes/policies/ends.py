"""Probes, and how long a container takes to end."""

import re
from collections.abc import Iterator, Sequence

from django.urls import Resolver404, resolve

from router.app import SETTLE_AT_STOP_S
from router.ingress.operations.operations import READINESS
from tests.unit.deploy.kubernetes.manifests import (
    Manifest,
    containers_of,
    environment_of,
    words_of,
)

OF_ENGINES = {"/health", "/v2/health/ready", "/v2/health/live"}


def probes_ask_what_exists(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in containers_of(manifests):
        own = {port["name"] for port in container.get("ports", [])}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            if asked and asked["port"] not in own:
                yield f"{where}: {name} asks the unknown port {asked['port']!r}"
            path = probe.get("httpGet", {}).get("path")
            if path and not _is_served(path, pods.labels, container["name"]):
                yield f"{where}: {name} asks {path}, which is not served"
            for queue in re.findall(r"run/(\w+)\.alive", str(probe)):
                if f"--queues={queue}" not in container.get("args", []):
                    yield f"{where}: {name} looks at the file of {queue}"


def _is_served(path: str, labels: dict[str, str], container: str) -> bool:
    if container == "engine":
        return path in OF_ENGINES
    if labels.get("app.kubernetes.io/component") == "router":
        return path in {"/healthz", *READINESS}
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def what_runs_on_is_probed(manifests: Sequence[Manifest]) -> Iterator[str]:
    """But for the agent, which ends when it can do nothing."""
    for where, pods, container in containers_of(manifests):
        runs_on = not pods.owner.startswith("Job") and container["name"] not in {
            "agent",
            "migrated",
        }
        if runs_on and "livenessProbe" not in container:
            yield f"{where}: no liveness probe"
        if runs_on and container.get("ports") and "readinessProbe" not in container:
            yield f"{where}: no readiness probe"


def drains_end_before_they_are_killed(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in containers_of(manifests):
        needed_s = (
            container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        )
        words = words_of(container, manifests)
        if words[:3] == ["python", "-m", "router"]:
            environment = environment_of(container, manifests)
            needed_s += float(environment["ROUTER_DRAIN_S"]) + SETTLE_AT_STOP_S
        for word in words:
            if found := re.fullmatch(r"--(?:drain-s|workers-kill-timeout)=(\d+)", word):
                needed_s += int(found[1])
        if needed_s and needed_s >= pods.spec.get("terminationGracePeriodSeconds", 30):
            yield f"{where}: takes {needed_s:g} s to end and is killed before"


def servers_wait_for_load_balancers(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in containers_of(manifests):
        if pods.labels.get("app.kubernetes.io/component") not in {"router", "web"}:
            continue
        if container.get("ports") and "preStop" not in container.get("lifecycle", {}):
            yield f"{where}: stops listening while calls are still sent to it"
