"""Pages of presets: the list, the form of a new one, and one with its versions."""

import json
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.presets.forms import PresetForm
from marketplace.presets.models import Preset
from marketplace.presets.selectors import presets_last
from marketplace.presets.services import preset_retire, preset_save
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.numbers import whole

VERSIONS_SHOWN = 50


@require_safe
@organisation_required
def presets(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What the organisation has, retired ones too."""
    context = {
        "presets": presets_last().filter(organisation=organisation).order_by("name"),
        "may_change": may(request.user, organisation, Permission.KEYS),
    }
    return render(request, "presets/presets.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def preset_new(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Make one."""
    demand(request, organisation, Permission.KEYS)
    form = PresetForm(request.POST or None)
    if saved := _saved(request, organisation, form):
        return saved
    status = 422 if form.is_bound else 200
    return render(request, "presets/new.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def preset(request: HttpRequest, organisation: Organisation, name: str) -> HttpResponse:
    """One: its form, filled by the last version or that of ``?version=``, and its versions."""
    own = Preset.objects.filter(organisation=organisation, name=name)
    last = own.order_by("-version").first()
    row = last
    if asked := request.GET.get("version", ""):
        row = own.filter(version=whole(asked) or 0).first()
    if last is None or row is None:
        return get_object_or_404(own, pk=None)  # type: ignore[return-value] # always raises
    form = PresetForm(initial=_initial(row))
    if request.method == "POST":
        demand(request, organisation, Permission.KEYS)
        form = PresetForm({**request.POST.dict(), "name": name})
        if saved := _saved(request, organisation, form):
            return saved
    context = {
        "row": row,
        "last": last,
        "form": form,
        "versions": own.select_related("created_by").order_by("-version")[:VERSIONS_SHOWN],
        "may_change": may(request.user, organisation, Permission.KEYS),
    }
    return render(request, "presets/preset.html", context, status=422 if form.is_bound else 200)


@require_POST
@organisation_required
def retire(request: HttpRequest, organisation: Organisation, name: str) -> HttpResponse:
    """Take it back, once that is confirmed."""
    demand(request, organisation, Permission.KEYS)
    row = get_object_or_404(presets_last(), organisation=organisation, name=name)
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Retire the preset “%(name)s”?") % {"name": name},
            effects=[
                _("Calls that name it are refused within seconds."),
                _("Saving it again brings it back."),
            ],
            verb=_("Retire"),
            back=reverse("preset", args=[name]),
        )
    preset_retire(preset=row)
    return redirect("presets")


def _saved(
    request: HttpRequest, organisation: Organisation, form: PresetForm
) -> HttpResponse | None:
    if not form.is_bound or not form.is_valid():
        return None
    given = form.cleaned_data
    try:
        made, is_new = preset_save(
            organisation=organisation,
            name=given["name"],
            model=given["model"],
            system=given["system"],
            parameters=given["parameters"],
            created_by=request.user,  # type: ignore[arg-type] # login_required
        )
    except ValidationError as error:
        form.refuse(error)
        return None
    said = _("Version %(n)s is in force.") if is_new else _("Nothing changed: it is version %(n)s.")
    messages.success(request, said % {"n": made.version})
    return redirect("preset", made.name)


def _initial(row: Preset) -> dict[str, Any]:
    text = json.dumps(row.parameters, indent=2, ensure_ascii=False) if row.parameters else ""
    return {"name": row.name, "model": row.model, "system": row.system, "parameters": text}
