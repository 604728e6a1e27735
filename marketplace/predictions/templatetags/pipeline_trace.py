"""For pages of calls, which know nothing of predictions: the pipeline that a call is a stage of."""

from typing import Any

from django import template

from marketplace.catalog.models import Pool
from marketplace.predictions.selectors import figures_fill, prediction_with_stage
from marketplace.predictions.stages.trace import trace_of
from marketplace.usage.models import UsageEvent

register = template.Library()


@register.inclusion_tag("predictions/call_of_pipeline.html")
def pipeline_of_call(event: UsageEvent) -> dict[str, Any]:
    """The trace of all stages, where the call is one of them; else nothing."""
    found = prediction_with_stage(event.organisation_id, event.pk)
    if found is None:
        return {}
    figures_fill([found])
    emulated = Pool.objects.filter(emulated=True).values_list("name", flat=True)
    return {
        "prediction": found,
        "trace": trace_of(found.stages_known),
        "here": event.pk,
        "emulated_pools": set(emulated),
    }
