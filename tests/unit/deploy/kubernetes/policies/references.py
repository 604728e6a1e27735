"""Every name that a manifest gives is that of something."""

import re
from collections.abc import Iterator, Sequence

from tests.unit.deploy.kubernetes.manifests import (
    WORKLOADS,
    Manifest,
    called,
    containers_of,
    environment_of,
    of_kind,
    own_pods,
    pods_of,
    secrets_of,
    selected,
    words_of,
)
from tests.unit.deploy.kubernetes.policies.documented import documented

MADE_BY_OPERATORS = {
    ("database-app", "uri"),
    ("rabbitmq-default-user", "username"),
    ("rabbitmq-default-user", "password"),
}


def services_select_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    pods = pods_of(manifests)
    for service in of_kind(manifests, "Service"):
        found = selected(pods, {"matchLabels": service["spec"]["selector"]})
        if not found:
            yield f"{called(service)} selects no pods"
        for port in service["spec"]["ports"]:
            if not all(port["targetPort"] in each.ports for each in found):
                yield f"{called(service)}: its pods have no port {port['targetPort']!r}"


def names_of_hosts_are_services(manifests: Sequence[Manifest]) -> Iterator[str]:
    services = {each["metadata"]["name"]: each for each in of_kind(manifests, "Service")}
    known = set(services)
    known |= {f"{each['metadata']['name']}-rw" for each in of_kind(manifests, "Cluster")}
    known |= {each["metadata"]["name"] for each in of_kind(manifests, "RabbitmqCluster")}
    for where, _, container in containers_of(manifests):
        for text in [
            *environment_of(container, manifests).values(),
            *words_of(container, manifests),
        ]:
            for host in re.findall(r"(?:://|@)(?:[\w:%]*@)?([a-z][\w.-]*):\d+", text):
                service = host.rpartition(".")[2]
                if host != "secret" and service not in known:
                    yield f"{where}: {host} in {text!r} is no service"
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = services.get(backend["name"], {"spec": {"ports": []}})["spec"]["ports"]
                if backend["port"]["name"] not in {port["name"] for port in ports}:
                    yield f"{called(ingress)}: there is no service {backend['name']}"


def targets_exist(manifests: Sequence[Manifest]) -> Iterator[str]:
    pods = pods_of(manifests)
    workloads = {
        (each["kind"], each["metadata"]["name"]) for each in of_kind(manifests, *WORKLOADS)
    }
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        if not selected(pods, budget["spec"]["selector"]):
            yield f"{called(budget)} selects no pods"
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in workloads:
            yield f"{called(scaler)}: there is no {target['kind']} {target['name']}"
    for each in of_kind(manifests, "StatefulSet"):
        services = {service["metadata"]["name"] for service in of_kind(manifests, "Service")}
        if each["spec"]["serviceName"] not in services:
            yield f"{called(each)}: there is no service {each['spec']['serviceName']!r}"
    for backup in of_kind(manifests, "ScheduledBackup"):
        clusters = {each["metadata"]["name"] for each in of_kind(manifests, "Cluster")}
        if backup["spec"]["cluster"]["name"] not in clusters:
            yield f"{called(backup)}: there is no such cluster"


def scaled_workloads_leave_their_number_to_the_scaler(
    manifests: Sequence[Manifest],
) -> Iterator[str]:
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in manifests}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        if "replicas" in by_name.get((target["kind"], target["name"]), {}).get("spec", {}):
            yield f"{called(scaler)}: its target has a number of its own"


def selectors_select_their_own_pods(manifests: Sequence[Manifest]) -> Iterator[str]:
    pods = own_pods(manifests)
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        found = {each.owner for each in selected(pods, workload["spec"]["selector"])}
        if found != {called(workload)}:
            yield f"{called(workload)} selects the pods of {sorted(found)}"


def replicas_are_spread_and_guarded(manifests: Sequence[Manifest]) -> Iterator[str]:
    budgets = [each["spec"]["selector"] for each in of_kind(manifests, "PodDisruptionBudget")]
    for pods in own_pods(manifests):
        component = pods.labels.get("app.kubernetes.io/component")
        if component in {"migrate", "beat", "valkey"}:  # one of each
            continue
        if not any(selected([pods], budget) for budget in budgets):
            yield f"{pods.owner}: nothing bounds how many of its pods are evicted at once"
        if not pods.spec.get("topologySpreadConstraints"):
            yield f"{pods.owner}: its pods may all be on one node"


def references_are_defined_or_documented(manifests: Sequence[Manifest]) -> Iterator[str]:
    settings = {each["metadata"]["name"] for each in of_kind(manifests, "ConfigMap")}
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    for pods in own_pods(manifests):
        if pods.spec.get("serviceAccountName") not in accounts:
            yield f"{pods.owner}: there is no service account"
    for where, _, container in containers_of(manifests):
        for source in container.get("envFrom", []):
            if source.get("configMapRef", {}).get("name") not in settings:
                yield f"{where}: {source} is not defined"
    for where, secret, key in secrets_of(manifests):
        if (secret, key) not in MADE_BY_OPERATORS and not _is_documented(secret, key):
            yield f"{where}: {key} of the secret {secret} is not documented"


def what_runs_before_the_rest_needs_nothing_of_it(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Argo CD makes what a hook before the sync names only after that hook has ended."""
    settings = {each["metadata"]["name"] for each in of_kind(manifests, "ConfigMap")}
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    for workload in of_kind(manifests, *WORKLOADS):
        hook = workload["metadata"].get("annotations", {}).get("argocd.argoproj.io/hook")
        spec = workload["spec"]["template"]["spec"]
        named = {spec.get("serviceAccountName")} & accounts
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            for source in container.get("envFrom", []):
                named |= {source.get("configMapRef", {}).get("name")} & settings
        if hook == "PreSync" and named:
            yield f"{called(workload)} waits for {', '.join(sorted(named))}, which come later"


def _is_documented(secret: str, key: str) -> bool:
    """The keys of `worker-tokens` are the pools' names."""
    return f"{secret}/{key}" in documented("secret") or secret == "worker-tokens"
