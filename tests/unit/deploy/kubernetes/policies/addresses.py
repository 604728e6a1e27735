"""IPv4, IPv6, or both: a cluster has either, and no manifest says which."""

import re
from collections.abc import Iterator, Sequence

from tests.unit.deploy.kubernetes.manifests import (
    Manifest,
    containers_of,
    environment_of,
    words_of,
)

IPV4_ALONE = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d./])")
IN_A_URL = re.compile(r"//\$\(POD_IP\)|\$\(POD_IP\):")


def servers_listen_on_both_families(manifests: Sequence[Manifest]) -> Iterator[str]:
    for where, _, container in containers_of(manifests):
        said = [*environment_of(container, manifests).values(), *words_of(container, manifests)]
        if any(map(IPV4_ALONE.search, said)):
            yield f"{where}: listens on IPv4 alone"


def addresses_of_pods_are_in_no_url(manifests: Sequence[Manifest]) -> Iterator[str]:
    """One of IPv6 would lack its brackets there."""
    for where, _, container in containers_of(manifests):
        values = [variable.get("value", "") for variable in container.get("env", [])]
        for text in [*container.get("command", []), *container.get("args", []), *values]:
            if IN_A_URL.search(text):
                yield f"{where}: {text} is no URL where the pod's address is one of IPv6"
