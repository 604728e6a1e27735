"""Checks a manifest against the schema of its kind: Kubernetes' own, or that of an operator."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.37"
"""The version of Kubernetes whose schemas core kinds must match."""


def faults_of(manifest: dict[str, Any]) -> list[str]:
    """What the schema of its kind does not allow, unknown fields included."""
    return _faults_of(json.dumps(manifest))


@cache
def _faults_of(text: str) -> list[str]:
    """Overlays have most manifests in common."""
    manifest = json.loads(text)
    custom = _custom().get((manifest["apiVersion"], manifest["kind"]))
    if custom is not None:
        validator = jsonschema.Draft202012Validator(custom)
        return [
            f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in validator.iter_errors(manifest)
        ]
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [str(error.message)]
    return []


@cache
def _custom() -> dict[tuple[str, str], dict[str, Any]]:
    kept = [json.loads(path.read_text()) for path in sorted(SCHEMAS.glob("*.json"))]
    return {(each["apiVersion"], each["kind"]): _strict(each["schema"], top=True) for each in kept}


def _strict(schema: dict[str, Any], *, top: bool = False) -> dict[str, Any]:
    """JSON Schema of OpenAPI's: integers or strings are both, and unknown fields are refused."""
    made = dict(schema)
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("type", None)
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    open_ended = made.pop("x-kubernetes-preserve-unknown-fields", False)
    if made.pop("x-left-out", False):
        return made
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    if "properties" in made:
        made["properties"] = {name: _strict(each) for name, each in made["properties"].items()}
        if top:
            made["properties"]["metadata"] = {"type": "object"}
        if not open_ended:
            made.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = _strict(made[name])
    return made
