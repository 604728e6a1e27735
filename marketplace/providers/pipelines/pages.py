"""Pages of an organisation's pipelines: the list, one with its graph, and the form of a version."""

import json
from typing import Any

import msgspec
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.catalog.models import Task
from marketplace.catalog.selectors import models_published
from marketplace.pipelines.definition import BYTES_MAX, DefinitionInvalid, Problem
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import pipelines_last
from marketplace.pipelines.services import pipeline_apply, pipeline_checked, pipeline_withdraw
from marketplace.predictions.stages.pipeline import pipeline_shown, shown_unkept
from marketplace.shared.confirming import confirmation, is_confirmed

ROWS_PER_PAGE = 50
VERSIONS_SHOWN = 20


class DefinitionForm(forms.Form):
    """A definition as text. What it says is checked by its own rules."""

    definition = forms.CharField(
        label=gettext_lazy("Definition (JSON)"),
        max_length=BYTES_MAX,
        widget=forms.Textarea(
            attrs={
                "class": "input mono",
                "rows": 24,
                "spellcheck": "false",
                "aria-describedby": "definition-problems",
            }
        ),
    )


@require_safe
@organisation_required
def pipelines(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What the organisation has, retired ones too."""
    rows = pipelines_last().filter(organisation=organisation)
    page = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "everybodys": pipelines_last().filter(organisation=None, published=True)[:ROWS_PER_PAGE],
        "may_change": may(request.user, organisation, Permission.OFFERINGS),
    }
    return render(request, "pipelines/pipelines.html", context)


@require_safe
@organisation_required
def pipeline(
    request: HttpRequest, organisation: Organisation, author: str, slug: str
) -> HttpResponse:
    """One: its graph with prices and times, its versions, and what may be done."""
    row = _find(organisation, author, slug)
    versions = Pipeline.objects.filter(name=row.name).order_by("-version")
    context = {
        "row": row,
        "shown": pipeline_shown(row),
        "versions": versions.defer("definition_text")[:VERSIONS_SHOWN],
        "definition": _pretty(row),
        "may_change": may(request.user, organisation, Permission.OFFERINGS),
    }
    return render(request, "pipelines/pipeline.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def pipeline_new(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Define one: check it as often as wanted, then publish it."""
    demand(request, organisation, Permission.OFFERINGS)
    return _edit(request, organisation, None, json.dumps(_example(organisation), indent=2))


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def pipeline_version(
    request: HttpRequest, organisation: Organisation, author: str, slug: str
) -> HttpResponse:
    """Change its definition: the next version."""
    demand(request, organisation, Permission.OFFERINGS)
    row = _find(organisation, author, slug)
    return _edit(request, organisation, row, _pretty(row))


@require_POST
@organisation_required
def pipeline_retire(
    request: HttpRequest, organisation: Organisation, author: str, slug: str
) -> HttpResponse:
    """Take it back, once that is confirmed."""
    demand(request, organisation, Permission.OFFERINGS)
    row = _find(organisation, author, slug)
    if not is_confirmed(request):
        return confirmation(
            request,
            question=_("Retire the pipeline “%(name)s”?") % {"name": row.name},
            effects=[
                _("Nobody can ask for it any more; what was asked for still runs."),
                _("A new version brings it back."),
            ],
            verb=_("Retire"),
            back=reverse("pipeline", args=[author, slug]),
        )
    pipeline_withdraw(name=row.name)
    return redirect("pipeline", author, slug)


def _find(organisation: Organisation, author: str, slug: str) -> Pipeline:
    mine = pipelines_last().filter(organisation=organisation)
    return get_object_or_404(mine, name=f"{author}/{slug}")


def _edit(
    request: HttpRequest, organisation: Organisation, row: Pipeline | None, text: str
) -> HttpResponse:
    form = DefinitionForm(request.POST or None, initial={"definition": text})
    problems: tuple[Problem, ...] = ()
    shown: Any = None
    if form.is_bound and form.is_valid():
        given = form.cleaned_data["definition"].encode()
        try:
            definition = pipeline_checked(text=given, organisation=organisation)
            if row is not None and definition.name != row.name:
                raise DefinitionInvalid(
                    Problem("name", _("this is of %(name)s") % {"name": row.name})
                )
            if "publish" in request.POST:
                return _published(request, given, organisation)
            shown = shown_unkept(definition)
        except DefinitionInvalid as error:
            problems = error.problems
    context = {"form": form, "row": row, "problems": problems, "shown": shown}
    status = 422 if form.is_bound and shown is None else 200
    return render(request, "pipelines/edit.html", context, status=status)


def _published(request: HttpRequest, text: bytes, organisation: Organisation) -> HttpResponse:
    made, is_new = pipeline_apply(text=text, organisation=organisation)
    said = (
        _("Version %(n)s is published.") if is_new else _("Nothing changed: it is version %(n)s.")
    )
    messages.success(request, said % {"n": made.version})
    return redirect("pipeline", *made.name.split("/", 1))


def _pretty(row: Pipeline) -> str:
    return msgspec.json.format(row.definition_text.encode(), indent=2).decode()


def _example(organisation: Organisation) -> dict[str, Any]:
    """Something to begin with: it can be published as it is, where there is a chat model."""
    chat = models_published().filter(task=Task.CHAT).order_by("emulated", "name").first()
    return {
        "name": f"{organisation.slug}/my-pipeline",
        "description": "",
        "input_schema": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string"}},
        },
        "stages": [
            {
                "name": "answer",
                "model": chat.name if chat else "author/model",
                "input": {"messages": [{"role": "user", "content": {"$from": "input.text"}}]},
            }
        ],
        "output": {"answer": {"$from": "answer.choices[0].message.content"}},
    }
