"""What is deployed reads what it is given, and gets no more."""

import re
from collections.abc import Iterator, Sequence

from marketplace.shared.jobs.periodic import Queue
from router.settings import SettingsInvalid, settings_from_env
from tests.architecture import pages
from tests.architecture.pages import REFERENCE
from tests.unit.deploy.kubernetes.manifests import (
    Manifest,
    containers_of,
    environment_of,
    of_kind,
    secrets_of,
    words_of,
)
from workers.agent import settings as agent_settings

OF_OTHERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),  # boto3
    *("CELERY_SKIP_CHECKS", "DJANGO_SETTINGS_MODULE"),
    *("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "HOME", "USER"),
    "REDISCLI_AUTH",  # valkey-cli
}
VALUES_OF_POOLS = {"MODEL", "SERVED_NAME", "SLOTS"}
"""Not every engine uses all of them."""
ROUTERS_LOGIN = "waypost-routers-login"
EXPANSION = re.compile(r"\$\((\w+)\)")


def settings_are_those_that_the_code_reads(manifests: Sequence[Manifest]) -> Iterator[str]:
    known = {pages.code(row[0])[0] for row in pages.rows(REFERENCE / "settings.md")} | OF_OTHERS
    for where, _, container in containers_of(manifests):
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
    for where, _, container in containers_of(manifests):
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
    for where, _, container in containers_of(manifests):
        if container["name"] == "agent":
            try:
                agent_settings.settings_read(words_of(container, manifests))
            except (agent_settings.SettingsWrong, SystemExit) as error:
                yield f"{where}: {error}"


def every_queue_has_its_processes(manifests: Sequence[Manifest]) -> Iterator[str]:
    words = " ".join(" ".join(words_of(each, manifests)) for _, _, each in containers_of(manifests))
    if set(re.findall(r"--queues=(\S+)", words)) != set(Queue):
        yield "the queues of the job processes are not those of the jobs"


def beat_is_one(manifests: Sequence[Manifest]) -> Iterator[str]:
    for each in of_kind(manifests, "Deployment"):
        if each["metadata"]["name"] == "beat":
            spec = each["spec"]
            if spec["replicas"] != 1 or spec.get("strategy", {}).get("type") != "Recreate":
                yield "two clocks may run at once"


def only_migrations_come_as_the_owner(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, pods, container in containers_of(manifests):
        if "database-app" in str(container) and pods.owner != "Job migrate":
            yield f"{where}: is given the owner of the tables"


def routers_alone_come_as_routers(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, secret, _ in secrets_of(manifests):
        if where.startswith("StatefulSet router") and secret == "waypost-services-login":
            yield f"{where}: is given the role of pages and jobs"
    given = {where for where, secret, _ in secrets_of(manifests) if secret == ROUTERS_LOGIN}
    if given - {"Cluster database"} != {"StatefulSet router, app"}:
        yield f"{sorted(given)} have the routers' role"
