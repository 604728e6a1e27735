"""What all manifests must keep. Each policy takes those of an overlay and says what breaks it."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TypeAlias

from django.urls import Resolver404, resolve

from marketplace.shared.jobs.periodic import Queue
from router.app import SETTLE_AT_STOP_S
from router.ingress.operations.operations import READINESS
from router.settings import SettingsInvalid, settings_from_env
from tests.architecture import pages
from tests.architecture.pages import DOCS, REFERENCE
from tests.unit.deploy.kubernetes.manifests import (
    WORKLOADS,
    Manifest,
    Pods,
    called,
    environment_of,
    of_kind,
    own_pods,
    pods_of,
    selected,
    words_of,
)
from tests.unit.deploy.kubernetes.schema import faults_of
from workers.agent import settings as agent_settings

Policy: TypeAlias = Callable[[Sequence[Manifest]], Iterator[str]]

OF_OTHERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),  # boto3
    *("CELERY_SKIP_CHECKS", "DJANGO_SETTINGS_MODULE"),
    *("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "HOME"),
    "REDISCLI_AUTH",  # valkey-cli
}
VALUES_OF_POOLS = {"MODEL", "SERVED_NAME", "SLOTS"}
"""Not every engine uses all of them."""

MADE_BY_OPERATORS = {
    ("database-app", "uri"),
    ("rabbitmq-default-user", "username"),
    ("rabbitmq-default-user", "password"),
}
ROUTERS_LOGIN = "waypost-routers-login"
OF_ENGINES = {"/health", "/v2/health/ready", "/v2/health/live"}
TAG = re.compile(r":(?P<tag>[\w.-]*\d[\w.-]*)$|@sha256:[0-9a-f]{64}$")
EXPANSION = re.compile(r"\$\((\w+)\)")
HOW_TO = DOCS / "how-to" / "run-in-a-cluster.md"


def _containers(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Pods, Manifest]]:
    for pods in own_pods(manifests):
        for container in pods.containers:
            yield f"{pods.owner}, {container['name']}", pods, container


# --- shape -----------------------------------------------------------------------------------


def every_kind_matches_its_schema(manifests: Sequence[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        yield from (f"{called(manifest)}: {fault}" for fault in faults_of(manifest))


# --- containers ------------------------------------------------------------------------------


def images_are_pinned(manifests: Sequence[Manifest]) -> Iterator[str]:
    images = [(where, container["image"]) for where, _, container in _containers(manifests)]
    images += [
        (called(each), each["spec"].get("imageName") or each["spec"].get("image", ""))
        for each in of_kind(manifests, "Cluster", "RabbitmqCluster")
    ]
    for where, image in images:
        if not TAG.search(image) or "/" not in image:
            yield f"{where}: {image!r} is no full name with a version"


def nobody_is_root(manifests: Sequence[Manifest]) -> Iterator[str]:
    for pods in own_pods(manifests):
        security = pods.spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{pods.owner}: may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pods.owner}: no seccomp profile"
        if pods.spec.get("automountServiceAccountToken") is not False:
            yield f"{pods.owner}: has a token of the Kubernetes API"
        if any(pods.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pods.owner}: shares its node's namespaces"
        if any("hostPath" in volume for volume in pods.spec.get("volumes", [])):
            yield f"{pods.owner}: mounts its node's files"


def containers_have_no_rights(manifests: Sequence[Manifest]) -> Iterator[str]:
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for where, _, container in _containers(manifests):
        if container.get("securityContext") != wanted:
            yield f"{where}: its security context is not {wanted}"


def resources_are_set(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, _, container in _containers(manifests):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            if missing := {"cpu", "memory"} - resources.get(kind, {}).keys():
                yield f"{where}: no {kind} of {', '.join(sorted(missing))}"
    for each in of_kind(manifests, "Cluster", "RabbitmqCluster"):
        if "limits" not in each["spec"].get("resources", {}):
            yield f"{called(each)}: no limits"


def mounts_have_volumes(manifests: Sequence[Manifest]) -> Iterator[str]:
    claims = {each["metadata"]["name"] for each in of_kind(manifests, "PersistentVolumeClaim")}
    for workload in of_kind(manifests, *WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        known = {volume["name"] for volume in spec.get("volumes", [])}
        known |= {
            claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])
        }
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in known:
                    yield f"{called(workload)}: there is no volume {mount['name']!r}"
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims and claim not in _documented("claim"):
                yield f"{called(workload)}: there is no claim {claim!r}"


# --- probes and ends -------------------------------------------------------------------------


def probes_ask_what_exists(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in _containers(manifests):
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
    for where, pods, container in _containers(manifests):
        runs_on = not pods.owner.startswith("Job") and container["name"] not in {
            "agent",
            "migrated",
        }
        if runs_on and "livenessProbe" not in container:
            yield f"{where}: no liveness probe"
        if runs_on and container.get("ports") and "readinessProbe" not in container:
            yield f"{where}: no readiness probe"


def drains_end_before_they_are_killed(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in _containers(manifests):
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
    for where, pods, container in _containers(manifests):
        if pods.labels.get("app.kubernetes.io/component") not in {"router", "web"}:
            continue
        if container.get("ports") and "preStop" not in container.get("lifecycle", {}):
            yield f"{where}: stops listening while calls are still sent to it"


# --- what refers to what ---------------------------------------------------------------------


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
    for where, _, container in _containers(manifests):
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
    for where, _, container in _containers(manifests):
        for source in container.get("envFrom", []):
            if source.get("configMapRef", {}).get("name") not in settings:
                yield f"{where}: {source} is not defined"
    for where, secret, key in _secrets(manifests):
        if (secret, key) not in MADE_BY_OPERATORS and not _is_documented(secret, key):
            yield f"{where}: {key} of the secret {secret} is not documented"


def _secrets(manifests: Sequence[Manifest]) -> Iterator[tuple[str, str, str]]:
    for where, _, container in _containers(manifests):
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


@cache
def _documented(kind: str) -> frozenset[str]:
    """Of the how-to's tables: `secret` or `claim` names the first column."""
    rows = pages.rows(HOW_TO)
    if kind == "claim":
        return frozenset(pages.code(row[0])[0] for row in rows if row[1] == "claim")
    return frozenset(
        f"{pages.code(row[0])[0]}/{key}"
        for row in rows
        if row[0].startswith("`") and row[1] != "claim"
        for key in pages.code(row[1])
    )


def _is_documented(secret: str, key: str) -> bool:
    """The keys of `worker-tokens` are the pools' names."""
    return f"{secret}/{key}" in _documented("secret") or secret == "worker-tokens"


# --- settings --------------------------------------------------------------------------------


def settings_are_those_that_the_code_reads(manifests: Sequence[Manifest]) -> Iterator[str]:
    known = {pages.code(row[0])[0] for row in pages.rows(REFERENCE / "settings.md")} | OF_OTHERS
    for where, _, container in _containers(manifests):
        used = set(EXPANSION.findall(str(container)))
        if container["name"] == "engine":
            used |= VALUES_OF_POOLS
        for name in environment_of(container, manifests):
            if name not in known and name not in used:
                yield f"{where}: nothing reads {name}"
        values = [*environment_of(container, manifests).values(), *words_of(container, manifests)]
        for name in EXPANSION.findall(" ".join(values)):
            yield f"{where}: $({name}) is used before it is defined"


def routers_accept_their_settings(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, _, container in _containers(manifests):
        if words_of(container, manifests)[:3] != ["python", "-m", "router"]:
            continue
        try:
            settings = settings_from_env(environment_of(container, manifests))
        except SettingsInvalid as error:
            yield f"{where}: {error}"
            continue
        listened = {settings.port, settings.grpc_port}
        if listened != {port["containerPort"] for port in container["ports"]}:
            yield f"{where}: it listens on {sorted(listened)}"


def agents_accept_their_words(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, _, container in _containers(manifests):
        if container["name"] == "agent":
            words = [
                word.replace("http://secret", "http://10.1.2.3")
                for word in words_of(container, manifests)
            ]
            try:
                agent_settings.settings_read(words)
            except (agent_settings.SettingsWrong, SystemExit) as error:
                yield f"{where}: {error}"


def every_queue_has_its_processes(manifests: Sequence[Manifest]) -> Iterator[str]:
    words = " ".join(" ".join(words_of(each, manifests)) for _, _, each in _containers(manifests))
    if set(re.findall(r"--queues=(\S+)", words)) != set(Queue):
        yield "the queues of the job processes are not those of the jobs"


def beat_is_one(manifests: Sequence[Manifest]) -> Iterator[str]:
    for each in of_kind(manifests, "Deployment"):
        if each["metadata"]["name"] == "beat":
            spec = each["spec"]
            if spec["replicas"] != 1 or spec.get("strategy", {}).get("type") != "Recreate":
                yield "two clocks may run at once"


def only_migrations_come_as_the_owner(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in _containers(manifests):
        if "database-app" in str(container) and pods.owner != "Job migrate":
            yield f"{where}: is given the owner of the tables"


def routers_alone_come_as_routers(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, secret, _ in _secrets(manifests):
        if where.startswith("StatefulSet router") and secret == "waypost-services-login":
            yield f"{where}: is given the role of pages and jobs"
    given = {where for where, secret, _ in _secrets(manifests) if secret == ROUTERS_LOGIN}
    if given - {"Cluster database"} != {"StatefulSet router, app"}:
        yield f"{sorted(given)} have the routers' role"


# --- network ---------------------------------------------------------------------------------


def nothing_is_allowed_by_default(manifests: Sequence[Manifest]) -> Iterator[str]:
    wanted = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if not any(each["spec"] == wanted for each in of_kind(manifests, "NetworkPolicy")):
        yield "no policy denies everything"


def network_policies_name_pods_and_ports(manifests: Sequence[Manifest]) -> Iterator[str]:
    pods = pods_of(manifests)
    for policy in of_kind(manifests, "NetworkPolicy"):
        spec = policy["spec"]
        subjects = selected(pods, spec["podSelector"])
        if not subjects:
            yield f"{called(policy)} selects no pods"
        for rule in spec.get("ingress", []):
            yield from _unknown(policy, rule, rule.get("from", []), pods, subjects)
        for rule in spec.get("egress", []):
            peers = [
                p
                for peer in rule.get("to", [])
                if "podSelector" in peer
                for p in selected(pods, peer["podSelector"])
            ]
            yield from _unknown(policy, rule, rule.get("to", []), pods, peers)


def _unknown(
    policy: Manifest,
    rule: Manifest,
    peers: Sequence[Manifest],
    pods: Sequence[Pods],
    receivers: Sequence[Pods],
) -> Iterator[str]:
    for peer in peers:
        if "podSelector" in peer and not selected(pods, peer["podSelector"]):
            yield f"{called(policy)}: no pods are {peer['podSelector']}"
    for port in rule.get("ports", []):
        if isinstance(port["port"], str) and not all(
            port["port"] in each.ports for each in receivers
        ):
            yield f"{called(policy)}: its pods have no port {port['port']!r}"


def workers_reach_the_pages_alone(manifests: Sequence[Manifest]) -> Iterator[str]:
    web = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "web"}}}
    for pods in own_pods(manifests):
        if pods.labels.get("waypost.dev/role") != "worker":
            continue
        rules = [
            rule
            for policy in of_kind(manifests, "NetworkPolicy")
            if policy["spec"]["podSelector"] and selected([pods], policy["spec"]["podSelector"])
            for rule in policy["spec"].get("egress", [])
        ]
        if [rule.get("to") for rule in rules] != [[web]]:
            yield f"{pods.owner}: may call more than the pages"


POLICIES: tuple[Policy, ...] = (
    every_kind_matches_its_schema,
    images_are_pinned,
    nobody_is_root,
    containers_have_no_rights,
    resources_are_set,
    mounts_have_volumes,
    probes_ask_what_exists,
    what_runs_on_is_probed,
    drains_end_before_they_are_killed,
    servers_wait_for_load_balancers,
    services_select_pods,
    names_of_hosts_are_services,
    targets_exist,
    scaled_workloads_leave_their_number_to_the_scaler,
    selectors_select_their_own_pods,
    replicas_are_spread_and_guarded,
    references_are_defined_or_documented,
    settings_are_those_that_the_code_reads,
    routers_accept_their_settings,
    agents_accept_their_words,
    every_queue_has_its_processes,
    beat_is_one,
    only_migrations_come_as_the_owner,
    routers_alone_come_as_routers,
    nothing_is_allowed_by_default,
    network_policies_name_pods_and_ports,
    workers_reach_the_pages_alone,
)
