"""``GET /metrics`` of the control plane, from each app's collectors."""

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest

from marketplace.benchmarks.metrics import ProfileCollector
from marketplace.billing.proof.metrics import LedgerCollector
from marketplace.operations.metrics import JobsCollector
from marketplace.planning.scaling.metrics import ScaleCollector
from marketplace.tuning.metrics import TuningCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Needs ``WAYPOST_METRICS_TOKEN`` as a bearer; if it is not set, nobody has access."""
    token = settings.WAYPOST_METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return HttpResponse(
            "this needs the header Authorization: Bearer <WAYPOST_METRICS_TOKEN>\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": "Bearer"},
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector())
    registry.register(ProfileCollector())
    registry.register(TuningCollector())
    registry.register(ScaleCollector())
    registry.register(JobsCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE)
