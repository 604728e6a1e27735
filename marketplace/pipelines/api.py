"""``GET /v1/pipelines``: what may be called as a model of models."""

from typing import Any

import msgspec
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.inference.views import JobsView
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipelines_callable


class PipelinesView(JobsView):
    """Those that the caller may call."""

    def get(self, request: Request) -> Response:
        found = pipelines_callable(self.caller.organisation_id)
        return Response({"object": "list", "data": [pipeline_as_json(result) for result in found]})


def pipeline_as_json(pipeline: Pipeline) -> dict[str, Any]:
    """Its definition, with the name as ``id``."""
    definition = msgspec.to_builtins(pipeline.definition)
    name = definition.pop("name")
    return {
        "id": name,
        "object": "pipeline",
        "version": str(pipeline.version),
        "created": int(pipeline.created_at.timestamp()),
        "is_own": pipeline.organisation_id is not None,
        **definition,
    }
