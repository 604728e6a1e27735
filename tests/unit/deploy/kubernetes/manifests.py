"""Manifests as kubectl builds them, and what policies ask of them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

ROOT = Path(__file__).parents[4]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUBECTL = Path(sys.prefix) / "bin" / "kubectl"
OVERLAYS = ("small", "production", "gpu")
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

Manifest: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a workload, or those that an operator makes of a custom resource."""

    owner: str
    labels: Mapping[str, str]
    ports: frozenset[str | int]
    """Names and numbers; of an operator's pods they are not known."""
    spec: Mapping[str, Any]

    @property
    def containers(self) -> Sequence[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]


@cache
def _built(folder: Path) -> list[Manifest]:
    ran = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return [each for each in yaml.load_all(ran.stdout, yaml.CSafeLoader) if each]


def built(folder: Path) -> list[Manifest]:
    """The manifests of a kustomization; the caller's own copy."""
    return deepcopy(_built(folder))


def overlay(name: str) -> list[Manifest]:
    return built(KUBERNETES / "overlays" / name)


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def called(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pods_of(manifests: Sequence[Manifest]) -> list[Pods]:
    """Of all workloads and operators."""
    return [*own_pods(manifests), *_operators_pods(manifests)]


def own_pods(manifests: Sequence[Manifest]) -> list[Pods]:
    return [_pods(each) for each in manifests if each["kind"] in WORKLOADS]


def _pods(workload: Manifest) -> Pods:
    template = workload["spec"]["template"]
    made = Pods(called(workload), template["metadata"]["labels"], frozenset(), template["spec"])
    ports = [port for each in made.containers for port in each.get("ports", [])]
    known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
    return Pods(made.owner, made.labels, frozenset(known), made.spec)


def _operators_pods(manifests: Sequence[Manifest]) -> Iterator[Pods]:
    """With the labels that the operators document."""
    for each in manifests:
        name = each["metadata"]["name"]
        if each["kind"] == "Cluster":
            yield Pods(called(each), {"cnpg.io/cluster": name}, frozenset({5432, 8000}), {})
        if each["kind"] == "RabbitmqCluster":
            ports = frozenset({5672, 15672})
            yield Pods(called(each), {"app.kubernetes.io/name": name}, ports, {})


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes pods of these labels; an empty one takes all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", "no other operator is read here"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def selected(pods: Sequence[Pods], selector: Mapping[str, Any]) -> list[Pods]:
    return [each for each in pods if selects(selector, each.labels)]


def environment_of(container: Manifest, manifests: Sequence[Manifest]) -> dict[str, str]:
    """What it is given: settings, its own values with `$(NAME)` filled in, `…` for secrets."""
    found: dict[str, str] = {}
    settings = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    for source in container.get("envFrom", []):
        found |= settings.get(source.get("configMapRef", {}).get("name"), {})
    for variable in container.get("env", []):
        found[variable["name"]] = expanded(variable.get("value", "secret"), found)
    return found


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """As Kubernetes does: what is not defined before stays as it is written."""
    for name, value in environment.items():
        text = text.replace(f"$({name})", value)
    return text


def words_of(container: Manifest, manifests: Sequence[Manifest]) -> list[str]:
    """Its command line."""
    environment = environment_of(container, manifests)
    words = [*container.get("command", []), *container.get("args", [])]
    return [expanded(word, environment) for word in words]


def containers_of(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Pods, Manifest]]:
    for pods in own_pods(manifests):
        for container in pods.containers:
            yield f"{pods.owner}, {container['name']}", pods, container


def secrets_of(manifests: Sequence[Manifest]) -> Iterator[tuple[str, str, str]]:
    for where, _, container in containers_of(manifests):
        for variable in container.get("env", []):
            chosen = variable.get("valueFrom", {})
            assert chosen.keys() <= {"fieldRef", "secretKeyRef"}, "no other reference is read here"
            if reference := chosen.get("secretKeyRef"):
                yield where, reference["name"], reference["key"]
    for each in of_kind(manifests, "Cluster"):
        for role in each["spec"].get("managed", {}).get("roles", []):
            yield called(each), role["passwordSecret"]["name"], "password"
    for each in of_kind(manifests, "Ingress"):
        for tls in each["spec"].get("tls", []):
            yield called(each), tls["secretName"], "tls.crt"
