"""The shape of what is deployed, and what its containers may do."""

import re
from collections.abc import Iterator, Sequence

from django.conf import settings

from tests.unit.deploy.kubernetes.manifests import (
    WORKLOADS,
    Manifest,
    called,
    containers_of,
    of_kind,
    own_pods,
)
from tests.unit.deploy.kubernetes.policies.documented import documented
from tests.unit.deploy.kubernetes.schema import faults_of

TAG = re.compile(r":(?P<tag>[\w.-]*\d[\w.-]*)$|@sha256:[0-9a-f]{64}$")


def every_kind_matches_its_schema(manifests: Sequence[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        yield from (f"{called(manifest)}: {fault}" for fault in faults_of(manifest))


def images_are_pinned(manifests: Sequence[Manifest]) -> Iterator[str]:
    images = [(where, container["image"]) for where, _, container in containers_of(manifests)]
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
    for where, _, container in containers_of(manifests):
        if container.get("securityContext") != wanted:
            yield f"{where}: its security context is not {wanted}"


def resources_are_set(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, _, container in containers_of(manifests):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            if missing := {"cpu", "memory"} - resources.get(kind, {}).keys():
                yield f"{where}: no {kind} of {', '.join(sorted(missing))}"
    for each in of_kind(manifests, "Cluster", "RabbitmqCluster"):
        if "limits" not in each["spec"].get("resources", {}):
            yield f"{called(each)}: no limits"


def engines_know_whose_they_are(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Their user is none of the image's: PyTorch fails on one without a name, others on a home."""
    for where, _, container in containers_of(manifests):
        given = {variable["name"] for variable in container.get("env", [])}
        if container["name"] == "engine" and not {"HOME", "USER"} <= given:
            yield f"{where}: has no HOME or no USER"


def uploads_fit_into_the_temporary_folder(manifests: Sequence[Manifest]) -> Iterator[str]:
    """They are there as they come and as Django takes them; a pod that needs more is evicted."""
    needed = 2 * settings.UPLOADS_AT_ONCE * settings.UPLOAD_BODY_BYTES_MAX
    for pods in own_pods(manifests):
        if pods.labels.get("app.kubernetes.io/component") != "web":
            continue
        (temporary,) = (each for each in pods.spec["volumes"] if each["name"] == "tmp")
        size = temporary["emptyDir"]["sizeLimit"]
        if not size.endswith("Gi") or int(size.removesuffix("Gi")) * 1024**3 < needed:
            yield f"{pods.owner}: {size} of /tmp are less than {needed} bytes of uploads"


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
            if claim and claim not in claims and claim not in documented("claim"):
                yield f"{called(workload)}: there is no claim {claim!r}"
