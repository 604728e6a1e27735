"""The how-to's configuration of Prometheus finds the pods that have metrics, under known names."""

import re
from typing import Any

import yaml

from tests.unit.deploy.kubernetes.manifests import OVERLAYS, ROOT, overlay, own_pods
from tests.unit.deploy.kubernetes.policies.documented import HOW_TO

COMPONENT = "app.kubernetes.io/component"
PODS_OF = {"waypost-router": "StatefulSet router", "waypost-marketplace": "Deployment web"}


def jobs() -> dict[str, dict[str, Any]]:
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", HOW_TO.read_text(), re.DOTALL)
    return {job["job_name"]: job for job in yaml.safe_load(block)["scrape_configs"]}


def known() -> dict[str, dict[str, Any]]:
    """The jobs of the configuration for one machine."""
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    return {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}


def test_jobs_are_those_of_the_rules_with_the_same_tokens() -> None:
    assert jobs().keys() == known().keys() == PODS_OF.keys()
    for name, job in jobs().items():
        assert job["authorization"].items() <= known()[name]["authorization"].items()


def test_each_job_finds_one_port_of_its_pods_and_no_others() -> None:
    for overlay_name in OVERLAYS:
        pods = own_pods(overlay(overlay_name))
        for name, job in jobs().items():
            keep = job["relabel_configs"][0]
            assert keep["source_labels"][0].endswith(re.sub(r"[./]", "_", COMPONENT))
            found = [
                each.owner
                for each in pods
                for container in each.containers
                for port in container.get("ports", [])
                if re.fullmatch(keep["regex"], f"{each.labels.get(COMPONENT)};{port['name']}")
            ]
            assert found == [PODS_OF[name]]
