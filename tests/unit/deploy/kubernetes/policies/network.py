"""Who may call whom."""

from collections.abc import Iterator, Sequence

from marketplace.shared.jobs.periodic import Queue
from tests.unit.deploy.kubernetes.manifests import (
    Manifest,
    Pods,
    called,
    of_kind,
    own_pods,
    pods_of,
    selected,
    words_of,
)

OF_BENCHMARKS = {f"--queues={queue}" for queue in (Queue.CONTROL, Queue.WORK)}
"""Those of the first run, those of the second ask for them."""


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


def benchmarks_see_live_traffic(manifests: Sequence[Manifest]) -> Iterator[str]:
    router = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "router"}}}
    for pods in own_pods(manifests):
        words = {word for each in pods.containers for word in words_of(each, manifests)}
        if not words & OF_BENCHMARKS:
            continue
        rules = [
            rule
            for policy in of_kind(manifests, "NetworkPolicy")
            if selected([pods], policy["spec"]["podSelector"])
            for rule in policy["spec"].get("egress", [])
        ]
        if {"to": [router], "ports": [{"port": "http"}]} not in rules:
            yield f"{pods.owner}: may not ask the routers"
