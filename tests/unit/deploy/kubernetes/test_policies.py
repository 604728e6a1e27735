"""Each overlay keeps each policy, and each policy can fail."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.deploy.kubernetes.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    built,
    of_kind,
    overlay,
)
from tests.unit.deploy.kubernetes.policies import (
    POLICIES,
    Policy,
    addresses,
    containers,
    ends,
    network,
    references,
    settings,
)

Plant = Callable[[list[Manifest]], object]


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_each_overlay_keeps_each_policy(policy: Policy, name: str) -> None:
    assert list(policy(overlay(name))) == []


def test_nothing_is_there_twice() -> None:
    for name in OVERLAYS:
        ids = [(each["kind"], each["metadata"]["name"]) for each in overlay(name)]
        assert len(ids) == len(set(ids))


def test_values_of_a_pool_stay_out_of_the_cluster() -> None:
    assert of_kind(overlay("gpu"), "Pool") == []


@pytest.mark.parametrize("pool", ["vllm-h100", "vllm-tpu", "triton-l4", "llama-cpu"])
def test_no_placeholder_of_the_template_is_left(pool: str) -> None:
    (engine,) = find(built(KUBERNETES / "pools" / pool), "StatefulSet", pool)["spec"]["template"][
        "spec"
    ]["initContainers"]
    (agent,) = find(built(KUBERNETES / "pools" / pool), "StatefulSet", pool)["spec"]["template"][
        "spec"
    ]["containers"]
    placeholders = {"pool", "model", "engine", "product", "topology"}
    values = {variable.get("value") for each in (engine, agent) for variable in each["env"]}
    assert not placeholders & {*values, engine["image"]}
    (scaled,) = of_kind(built(KUBERNETES / "pools" / pool), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["query"] == f'max(waypost_pool_desired_workers{{pool="{pool}"}})'


# --- planted violations ----------------------------------------------------------------------


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name)
    return found


def pod(manifests: list[Manifest], kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = find(manifests, kind, name)["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = pod(manifests, kind, name)["containers"][0]
    return found


def router(manifests: list[Manifest]) -> dict[str, Any]:
    return container(manifests, "StatefulSet", "router")


def web(manifests: list[Manifest]) -> dict[str, Any]:
    return container(manifests, "Deployment", "web")


def engine(manifests: list[Manifest]) -> dict[str, Any]:
    found: dict[str, Any] = pod(manifests, "StatefulSet", "vllm-h100")["initContainers"][0]
    return found


def settings_in(manifests: list[Manifest]) -> dict[str, str]:
    (found,) = of_kind(manifests, "ConfigMap")
    data: dict[str, str] = found["data"]
    return data


def variable(of: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in of["env"] if each["name"] == name)
    return found


PLANTED: dict[str, tuple[Policy, Plant]] = {
    "an unknown field": (
        containers.every_kind_matches_its_schema,
        lambda all_: router(all_).update(enviroment=[]),
    ),
    "an unknown field of a custom resource": (
        containers.every_kind_matches_its_schema,
        lambda all_: find(all_, "Cluster", "database")["spec"].update(instanses=3),
    ),
    "a scaler without a trigger's type": (
        containers.every_kind_matches_its_schema,
        lambda all_: find(all_, "ScaledObject", "vllm-h100")["spec"]["triggers"][0].pop("type"),
    ),
    "latest": (
        containers.images_are_pinned,
        lambda all_: router(all_).update(image="registry.example.com/waypost:latest"),
    ),
    "no tag": (
        containers.images_are_pinned,
        lambda all_: engine(all_).update(image="docker.io/vllm/vllm-openai"),
    ),
    "an operator's image without a tag": (
        containers.images_are_pinned,
        lambda all_: find(all_, "Cluster", "database")["spec"].update(
            imageName="ghcr.io/postgresql"
        ),
    ),
    "root": (
        containers.nobody_is_root,
        lambda all_: pod(all_, "Deployment", "web")["securityContext"].update(runAsUser=0),
    ),
    "no seccomp": (
        containers.nobody_is_root,
        lambda all_: pod(all_, "Deployment", "web")["securityContext"].pop("seccompProfile"),
    ),
    "a writable root": (
        containers.containers_have_no_rights,
        lambda all_: engine(all_)["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    "no limit": (
        containers.resources_are_set,
        lambda all_: router(all_)["resources"]["limits"].pop("memory"),
    ),
    "a mount without a volume": (
        containers.mounts_have_volumes,
        lambda all_: router(all_)["volumeMounts"][0].update(name="temp"),
    ),
    "an unknown claim": (
        containers.mounts_have_volumes,
        lambda all_: pod(all_, "StatefulSet", "vllm-h100")["volumes"][0][
            "persistentVolumeClaim"
        ].update(claimName="weights"),
    ),
    "a probe of an unknown path": (
        ends.probes_ask_what_exists,
        lambda all_: router(all_)["readinessProbe"]["httpGet"].update(path="/ready"),
    ),
    "a page that is not there": (
        ends.probes_ask_what_exists,
        lambda all_: web(all_)["livenessProbe"]["httpGet"].update(path="/healthz-of-nobody"),
    ),
    "a probe of an unknown port": (
        ends.probes_ask_what_exists,
        lambda all_: web(all_)["livenessProbe"]["httpGet"].update(port="htp"),
    ),
    "a probe of another queue": (
        ends.probes_ask_what_exists,
        lambda all_: container(all_, "Deployment", "jobs-work").update(
            livenessProbe=container(all_, "Deployment", "jobs-calls")["livenessProbe"]
        ),
    ),
    "no probe": (
        ends.what_runs_on_is_probed,
        lambda all_: container(all_, "Deployment", "beat").pop("livenessProbe"),
    ),
    "a router killed while it drains": (
        ends.drains_end_before_they_are_killed,
        lambda all_: settings_in(all_).update(ROUTER_DRAIN_S="80"),
    ),
    "pages killed while they drain": (
        ends.drains_end_before_they_are_killed,
        lambda all_: pod(all_, "Deployment", "web").update(terminationGracePeriodSeconds=40),
    ),
    "an agent killed while it drains": (
        ends.drains_end_before_they_are_killed,
        lambda all_: pod(all_, "StatefulSet", "vllm-h100").pop("terminationGracePeriodSeconds"),
    ),
    "no time for load balancers": (
        ends.servers_wait_for_load_balancers,
        lambda all_: router(all_).pop("lifecycle"),
    ),
    "a service of nobody": (
        references.services_select_pods,
        lambda all_: find(all_, "Service", "web")["spec"]["selector"].update(tier="front"),
    ),
    "a service to an unknown port": (
        references.services_select_pods,
        lambda all_: find(all_, "Service", "web")["spec"]["ports"][0].update(targetPort="https"),
    ),
    "an unknown host": (
        references.names_of_hosts_are_services,
        lambda all_: settings_in(all_).update(ROUTER_JOBS_URL="http://webb:8000"),
    ),
    "an unknown host of the database": (
        references.names_of_hosts_are_services,
        lambda all_: variable(router(all_), "DATABASE_URL").update(
            value="postgres://$(DATABASE_USER):$(DATABASE_PASSWORD)@database:5432/waypost"
        ),
    ),
    "an ingress to nobody": (
        references.names_of_hosts_are_services,
        lambda all_: find(all_, "Ingress", "waypost")["spec"]["rules"][0]["http"]["paths"][0][
            "backend"
        ]["service"].update(name="pages"),
    ),
    "a budget of nobody": (
        references.targets_exist,
        lambda all_: find(all_, "PodDisruptionBudget", "web")["spec"]["selector"][
            "matchLabels"
        ].update(tier="front"),
    ),
    "a scaler of nobody": (
        references.targets_exist,
        lambda all_: find(all_, "HorizontalPodAutoscaler", "web")["spec"]["scaleTargetRef"].update(
            name="pages"
        ),
    ),
    "KEDA's scaler of nobody": (
        references.targets_exist,
        lambda all_: find(all_, "ScaledObject", "vllm-h100")["spec"]["scaleTargetRef"].update(
            kind="Deployment"
        ),
    ),
    "a number of its own": (
        references.scaled_workloads_leave_their_number_to_the_scaler,
        lambda all_: find(all_, "Deployment", "web")["spec"].update(replicas=2),
    ),
    "a selector of others": (
        references.selectors_select_their_own_pods,
        lambda all_: find(all_, "Deployment", "web")["spec"].update(
            selector={"matchLabels": {"app.kubernetes.io/part-of": "waypost"}}
        ),
    ),
    "no budget": (
        references.replicas_are_spread_and_guarded,
        lambda all_: all_.remove(find(all_, "PodDisruptionBudget", "jobs-work")),
    ),
    "all on one node": (
        references.replicas_are_spread_and_guarded,
        lambda all_: pod(all_, "StatefulSet", "router").pop("topologySpreadConstraints"),
    ),
    "an unknown secret": (
        references.references_are_defined_or_documented,
        lambda all_: variable(router(all_), "ROUTER_ADMIN_TOKEN")["valueFrom"][
            "secretKeyRef"
        ].update(key="ADMIN_TOKEN"),
    ),
    "an unknown map of settings": (
        references.references_are_defined_or_documented,
        lambda all_: router(all_)["envFrom"][0]["configMapRef"].update(name="waypost"),
    ),
    "a setting that nothing reads": (
        settings.settings_are_those_that_the_code_reads,
        lambda all_: settings_in(all_).update(ROUTER_DRAIN_SECONDS="60"),
    ),
    "used before it is defined": (
        settings.settings_are_those_that_the_code_reads,
        lambda all_: router(all_)["env"].reverse(),
    ),
    "a setting that the router refuses": (
        settings.routers_accept_their_settings,
        lambda all_: settings_in(all_).update(ROUTER_UPSTREAM_NETWORKS="pods"),
    ),
    "another port": (
        settings.routers_accept_their_settings,
        lambda all_: settings_in(all_).update(ROUTER_PORT="9090"),
    ),
    "a word that the agent does not know": (
        settings.agents_accept_their_words,
        lambda all_: container(all_, "StatefulSet", "vllm-h100")["args"].append("--wait=1"),
    ),
    "an unknown engine": (
        settings.agents_accept_their_words,
        lambda all_: variable(container(all_, "StatefulSet", "vllm-h100"), "ENGINE").update(
            value="llm"
        ),
    ),
    "a queue without processes": (
        settings.every_queue_has_its_processes,
        lambda all_: all_.remove(find(all_, "Deployment", "jobs-calls")),
    ),
    "two clocks": (
        settings.beat_is_one,
        lambda all_: find(all_, "Deployment", "beat")["spec"].pop("strategy"),
    ),
    "the owner of the tables": (
        settings.only_migrations_come_as_the_owner,
        lambda all_: variable(web(all_), "DATABASE_PASSWORD")["valueFrom"]["secretKeyRef"].update(
            name="database-app"
        ),
    ),
    "a router as pages come": (
        settings.routers_alone_come_as_routers,
        lambda all_: variable(router(all_), "DATABASE_PASSWORD")["valueFrom"][
            "secretKeyRef"
        ].update(name="waypost-services-login"),
    ),
    "pages that listen on IPv4 alone": (
        addresses.servers_listen_on_both_families,
        lambda all_: web(all_).update(
            args=[word.replace("::", "0.0.0.0") for word in web(all_)["args"]]
        ),
    ),
    "routers that listen on IPv4 alone": (
        addresses.servers_listen_on_both_families,
        lambda all_: settings_in(all_).update(ROUTER_HOST="0.0.0.0"),
    ),
    "a pod's address in a URL": (
        addresses.addresses_of_pods_are_in_no_url,
        lambda all_: container(all_, "StatefulSet", "vllm-h100")["args"].append(
            "--adopt=http://$(POD_IP):8000"
        ),
    ),
    "migrations before their settings are there": (
        references.what_runs_before_the_rest_needs_nothing_of_it,
        lambda all_: find(all_, "Job", "migrate")["metadata"]["annotations"].update(
            {"argocd.argoproj.io/hook": "PreSync"}
        ),
    ),
    "an engine of nobody": (
        containers.engines_know_whose_they_are,
        lambda all_: engine(all_)["env"].remove(variable(engine(all_), "USER")),
    ),
    "uploads that evict the pages": (
        containers.uploads_fit_into_the_temporary_folder,
        lambda all_: next(
            each for each in pod(all_, "Deployment", "web")["volumes"] if each["name"] == "tmp"
        )["emptyDir"].update(sizeLimit="1Gi"),
    ),
    "an open network": (
        network.nothing_is_allowed_by_default,
        lambda all_: find(all_, "NetworkPolicy", "default-deny")["spec"].update(
            policyTypes=["Ingress"]
        ),
    ),
    "a network policy of nobody": (
        network.network_policies_name_pods_and_ports,
        lambda all_: find(all_, "NetworkPolicy", "web")["spec"]["podSelector"][
            "matchLabels"
        ].update(tier="front"),
    ),
    "a network policy about an unknown port": (
        network.network_policies_name_pods_and_ports,
        lambda all_: find(all_, "NetworkPolicy", "web")["spec"]["ingress"][0]["ports"][0].update(
            port="https"
        ),
    ),
    "a worker that calls anybody": (
        network.workers_reach_the_pages_alone,
        lambda all_: find(all_, "NetworkPolicy", "vllm-h100")["spec"]["egress"].append({}),
    ),
    "benchmarks that see no live traffic": (
        network.benchmarks_see_live_traffic,
        lambda all_: find(all_, "NetworkPolicy", "benchmarks")["spec"]["podSelector"][
            "matchExpressions"
        ][0]["values"].remove("jobs-work"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_caught(name: str) -> None:
    policy, plant = PLANTED[name]
    manifests = overlay("gpu")
    plant(manifests)
    assert list(policy(manifests)) != []


def test_every_policy_is_seen_to_fail() -> None:
    assert {policy for policy, _ in PLANTED.values()} == set(POLICIES)
