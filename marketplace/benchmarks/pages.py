"""Benchmarks for people: what was measured, what is being measured, and side by side."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from marketplace.accounts.models import User
from marketplace.benchmarks.access import benchmarks_seen_by, may_change, may_measure
from marketplace.benchmarks.models import Benchmark, Scenario, Target
from marketplace.benchmarks.results import export
from marketplace.benchmarks.results.charts import curve_columns, history_columns, overlay_columns
from marketplace.benchmarks.runs.queue import place_of
from marketplace.benchmarks.selectors import benchmarks_shown, profiles_shown
from marketplace.benchmarks.services import benchmark_repeat, benchmark_request
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus
from marketplace.catalog.selectors import models_published
from marketplace.catalog.visibility import on_market
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel
from marketplace.shared.numbers import whole

ROWS_PER_PAGE = 25
COMPARED_MAX = 6
HISTORY_MAX = 60
ROUTE = "route"


class BenchmarkForm(forms.Form):
    """What to measure: a deployment by its id, or the whole route of a model."""

    what = forms.CharField(max_length=160, label=gettext_lazy("What"))
    scenario = forms.ChoiceField(
        choices=Scenario.choices, initial=Scenario.OFFLINE, label=gettext_lazy("Scenario")
    )
    loads = forms.RegexField(
        r"^[\d.,\s]*$",
        required=False,
        max_length=120,
        label=gettext_lazy("Loads"),
        help_text=gettext_lazy("For example 1, 2, 4. Leave empty for the task's defaults."),
    )

    def ask(self, request: HttpRequest) -> Benchmark:
        """Queue it. Raises ``ValidationError``, ``PermissionDenied`` or 404."""
        what, loads = self.cleaned_data["what"], self.cleaned_data["loads"]
        deployment = None
        if what.startswith(f"{ROUTE}:"):
            model = get_object_or_404(models_published(), name=what.partition(":")[2])
        else:
            rows = Deployment.objects.select_related("version__model", "provider__organisation")
            deployment = get_object_or_404(rows, pk=whole(what) or 0)
            model = deployment.version.model
        if not may_measure(request, deployment):
            raise PermissionDenied(_("Only staff and the deployment's provider may measure it."))
        try:
            numbers = [float(load) for load in loads.replace(",", " ").split()]
        except ValueError:
            raise ValidationError(_("Loads are numbers like 1, 2, 4.")) from None
        return benchmark_request(
            model=model,
            target=Target.DEPLOYMENT if deployment else Target.ROUTE,
            deployment=deployment,
            scenario=self.cleaned_data["scenario"],
            asked_by=request.user if isinstance(request.user, User) else None,
            settings={"loads": numbers} if numbers else {},
        )


@require_safe
def benchmarks(request: HttpRequest) -> HttpResponse:
    """All of them, newest first, with the progress of those that run."""
    return _list(request, BenchmarkForm())


def _list(request: HttpRequest, form: BenchmarkForm, status: int = 200) -> HttpResponse:
    chosen = {name: request.GET.get(name, "") for name in ("model", "state", "scenario")}
    rows = benchmarks_shown(benchmarks_seen_by(request))
    if chosen["model"]:
        rows = rows.filter(model__name=chosen["model"])
    if chosen["state"] in JobState.values:
        rows = rows.filter(state=chosen["state"])
    if chosen["scenario"] in Scenario.values:
        rows = rows.filter(scenario=chosen["scenario"])
    page = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "here": reverse("benchmarks"),
        "chosen": chosen,
        "models": models_published().filter(benchmarks__isnull=False).distinct(),
        "states": JobState.choices,
        "scenarios": Scenario.choices,
        "is_moving": any(not row.is_over for row in page.object_list),
        "measurable": _measurable(request),
        "form": form,
    }
    return render(request, "benchmarks/benchmarks.html", context, status=status)


@require_safe
def benchmark(request: HttpRequest, benchmark_id: int) -> HttpResponse:
    """One benchmark: its curve, percentiles with their intervals, and what it ran on."""
    row = _one(request, benchmark_id)
    if row.is_over and request.headers.get("HX-Request"):
        # The whole page again: its curve is drawn, and its buttons change, as it loads.
        return HttpResponse(headers={"HX-Refresh": "true"})
    points = list(row.points.all())
    context = {
        "benchmark": row,
        "place": place_of(row),
        "points": points,
        "knee": next((point for point in points if point.is_knee), None),
        "chart": curve_columns(points),
        "profiles": row.profiles.all(),
        "may_change": may_change(request, row),
        "fingerprint": _flat(row.fingerprint),
        "settings": _flat(row.settings),
        "has_raw": bool(points),
        "formats": export.FORMATS,
    }
    return render(request, "benchmarks/benchmark.html", context)


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """A model's deployments side by side by their newest curves, and its profiles over time."""
    models = models_published().filter(benchmarks__state=JobState.SUCCEEDED).distinct()
    model = models.filter(name=request.GET.get("model", "")).first() or models.first()
    newest = _newest_curves(model) if model else []
    profiles = list(
        profiles_shown(on_market("deployment__"))
        .filter(deployment__version__model=model)
        .order_by("-id")[:HISTORY_MAX]
        if model
        else []
    )
    context = {
        "models": models,
        "model": model,
        "newest": newest,
        "labels": "|".join(_name(row.deployment) for row in newest),
        "overlay": overlay_columns([list(row.points.all()) for row in newest]),
        "profiles": profiles,
        **_history(profiles),
    }
    return render(request, "benchmarks/compare.html", context)


@require_safe
def benchmark_file(request: HttpRequest, benchmark_id: int, kind: str) -> HttpResponse:
    """A download."""
    if kind not in export.FORMATS:
        raise Http404(kind)
    return export.response(_one(request, benchmark_id), kind)


@require_POST
@login_required
def create(request: HttpRequest) -> HttpResponse:
    """Queue one from the form of the list."""
    form = BenchmarkForm(request.POST)
    if form.is_valid():
        try:
            return redirect("benchmark", form.ask(request).pk)
        except ValidationError as error:
            form.add_error(None, error.messages)
    return _list(request, form, status=422)


@require_POST
@login_required
def cancel(request: HttpRequest, benchmark_id: int) -> HttpResponse:
    """Stop it."""
    row = _changeable(request, benchmark_id)
    job_cancel(row)
    return redirect("benchmark", row.pk)


@require_POST
@login_required
def repeat(request: HttpRequest, benchmark_id: int) -> HttpResponse:
    """Ask for the same again."""
    row = _changeable(request, benchmark_id)
    try:
        again = benchmark_repeat(
            benchmark=row, asked_by=request.user if isinstance(request.user, User) else None
        )
    except ValidationError as error:
        messages.error(request, "; ".join(error.messages))
        return redirect("benchmark", row.pk)
    return redirect("benchmark", again.pk)


def _one(request: HttpRequest, benchmark_id: int) -> Benchmark:
    return get_object_or_404(benchmarks_shown(benchmarks_seen_by(request)), pk=benchmark_id)


def _changeable(request: HttpRequest, benchmark_id: int) -> Benchmark:
    row = _one(request, benchmark_id)
    if not may_change(request, row):
        raise PermissionDenied(_("Only staff and the deployment's provider may measure it."))
    return row


def _measurable(request: HttpRequest) -> list[tuple[str, str]]:
    """What the caller may measure: values and labels of the form's choice."""
    if not request.user.is_authenticated:
        return []
    rows = Deployment.objects.filter(
        status=DeploymentStatus.LIVE, version__model__in=models_published()
    ).select_related("version__model", "provider__organisation", "pool")
    mine = [row for row in rows.order_by("version__model__name") if may_measure(request, row)]
    found = [(str(row.pk), f"{row.version.model.name} · {row.pool}") for row in mine]
    if may_measure(request, None):
        names = sorted({row.version.model.name for row in mine})
        found += [
            (f"{ROUTE}:{name}", _("%(model)s · whole route") % {"model": name}) for name in names
        ]
    return found


def _newest_curves(model: AIModel) -> list[Benchmark]:
    """Of each deployment the newest benchmark that is done, of loads that are concurrencies."""
    rows = (
        benchmarks_shown(on_market("deployment__"))
        .filter(model=model, state=JobState.SUCCEEDED, deployment__isnull=False)
        .exclude(scenario=Scenario.SERVER)
        .prefetch_related("points")
        .order_by("deployment_id", "-id")
        .distinct("deployment_id")
    )
    return list(rows[:COMPARED_MAX])


def _history(profiles: list[Any]) -> dict[str, Any]:
    deployments = {profile.deployment_id: profile.deployment for profile in profiles}
    shown = list(deployments.values())[:COMPARED_MAX]
    return {
        "history": history_columns(profiles, [row.pk for row in shown]),
        "history_labels": "|".join(_name(row) for row in shown),
        "history_names": " ".join(f"s{index}" for index in range(len(shown))),
    }


def _name(deployment: Deployment | None) -> str:
    """A series' name: short, for a phone has room for little; the table has the hardware."""
    if deployment is None:
        return ""
    name = deployment.pool.name
    is_told = not deployment.pool.emulated or "emulated" in name
    return name if is_told else f"{name} ({_('emulated')})"


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of nested settings, as ``asked.version``; empty ones left out."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif value not in ("", [], None):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((f"{prefix}{name}", text))
    return found
