"""Pages of the fleet for staff, where they drain workers and put them back."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from marketplace.accounts.access import staff_required
from marketplace.catalog.models import Worker
from marketplace.catalog.selectors import drain_effect
from marketplace.catalog.services import worker_drain
from marketplace.routing.topology.display import pools_shown, queues_shown, tiles_of
from marketplace.routing.topology.flow import flow_of
from marketplace.routing.topology.picture import Topology, WorkerBox
from marketplace.routing.topology.selectors import overview_now, topology_now
from marketplace.routing.trials.models import Straggler
from marketplace.usage.selectors import calls_lately, calls_lately_text

REASON_CHARACTERS = 200


class DrainForm(forms.Form):
    """Draining needs a reason; ending it may have one."""

    why = forms.CharField(max_length=REASON_CHARACTERS, label=gettext_lazy("Why"))
    confirmed = forms.BooleanField(required=False)


@require_safe
@staff_required
def topology(request: HttpRequest) -> HttpResponse:
    """The whole fleet; the page reloads its live part each second."""
    return render(request, "routing/topology.html", _context(topology_now()))


@require_safe
@staff_required
def topology_live(request: HttpRequest) -> HttpResponse:
    """The live part of the page."""
    response = render(request, "routing/topology_live.html", _context(topology_now()))
    response.headers["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required
def worker(request: HttpRequest, worker_id: str) -> HttpResponse:
    """One worker, and the effect of draining it."""
    row = get_object_or_404(Worker.objects.select_related("pool"), worker_id=worker_id)
    if request.method != "POST":
        return _worker_page(request, row)
    draining = not row.draining
    if request.POST.get("draining") != ("1" if draining else "0"):
        refused = _("Somebody else has changed it in the meantime: check it before you change it.")
        return _worker_page(request, row, refused=[refused], status=409)
    form = DrainForm(request.POST)
    form.fields["why"].required = draining
    if not form.is_valid():
        return _worker_page(request, row, form=form, status=422)
    try:
        worker_drain(
            worker=row,
            draining=draining,
            by=request.user,  # type: ignore[arg-type]  # `staff_required` has seen to it
            **form.cleaned_data,
        )
    except ValidationError as error:
        row.refresh_from_db()
        return _worker_page(request, row, form=form, refused=error.messages, status=422)
    return redirect("worker", row.worker_id)


def _worker_page(
    request: HttpRequest,
    row: Worker,
    *,
    form: DrainForm | None = None,
    refused: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    now = topology_now()
    box = _box(now, row)
    context = {
        "worker": row,
        "box": box,
        "engines_expected": [expected for expected in box.expected if expected.engine]
        if box
        else [],
        "topology": now,
        "effect": drain_effect(row),
        "calls_lately": calls_lately_text(calls_lately(worker_id=row.worker_id)),
        "form": form or DrainForm(),
        "refused": refused,
        "stragglers": Straggler.objects.filter(worker=row, cleared_at=None),
    }
    return render(request, "routing/worker.html", context, status=status)


def _box(now: Topology, row: Worker) -> WorkerBox | None:
    boxes = (box for pool in now.pools for box in pool.workers)
    return next((box for box in boxes if box.row.pk == row.pk), None)


def _context(now: Topology) -> dict[str, Any]:
    overview = overview_now()
    queues, pools = queues_shown(now), pools_shown(now)
    return {
        "topology": now,
        "overview": overview,
        "tiles": tiles_of(now, overview),
        "flow": flow_of(now),
        "queues": queues,
        "queues_left_out": len(now.queues) - len(queues),
        "pools": pools,
        "pools_left_out": len(now.pools) - len(pools),
    }
