"""Reduces a custom resource's definition to the schema that `schemas/` keeps of it.

python -m tests.unit.deploy.kubernetes.reduce CRD.yaml SOURCE VERSION
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.unit.deploy.kubernetes.schema import SCHEMAS

LEFT_OUT = {"affinity", "override", "podTemplate", "projectedVolumeTemplate"}
"""Copies of core kinds, hundreds of kilobytes each; ours use none of them."""


def reduced(definition: dict[str, Any], source: str, version: str) -> dict[str, Any]:
    """Its stored version's schema, without prose, the status, and copies of pod templates."""
    spec = definition["spec"]
    stored = next(each for each in spec["versions"] if each["storage"])
    schema = _bare(stored["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    return {
        "source": source,
        "version": version,
        "apiVersion": f"{spec['group']}/{stored['name']}",
        "kind": spec["names"]["kind"],
        "schema": schema,
    }


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in schema.items()
        if name not in {"description", "title", "example"}
        and (not name.startswith("x-kubernetes-") or name in KEPT)
    }
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            name: _opaque() if name in LEFT_OUT else _bare(value)
            for name, value in kept["properties"].items()
        }
    for name in ("items", "additionalProperties"):
        if isinstance(kept.get(name), dict):
            kept[name] = _bare(kept[name])
    for name in ("allOf", "anyOf", "oneOf"):
        if name in kept:
            kept[name] = [_bare(each) for each in kept[name]]
    return kept


KEPT = {"x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"}


def _opaque() -> dict[str, Any]:
    return {"type": "object", "x-left-out": True}


if __name__ == "__main__":
    path, source, version = sys.argv[1:]
    made = reduced(yaml.safe_load(Path(path).read_text()), source, version)
    target = SCHEMAS / f"{made['kind'].lower()}.json"
    target.write_text(json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n")
