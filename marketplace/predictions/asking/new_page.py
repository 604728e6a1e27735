"""The page that asks for a prediction: a model or a pipeline, and its input as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand
from marketplace.catalog.models import Task
from marketplace.inference.callers import Caller
from marketplace.inference.errors import JobError
from marketplace.pipelines.examples import example_of
from marketplace.pipelines.selectors import pipeline_wanted
from marketplace.predictions.asking.called import called
from marketplace.predictions.calls.invalid import InputInvalid
from marketplace.predictions.models import Prediction
from marketplace.predictions.selectors import model_wanted
from marketplace.predictions.services import Asked, TooMany, prediction_create
from marketplace.shared.texts import unkept_in
from router.domain.request import Priority

INPUT_CHARACTERS_MAX = 500_000
EXAMPLES: Mapping[str, Any] = {
    Task.CHAT: {"messages": [{"role": "user", "content": "…"}], "max_tokens": 64},
    Task.EMBEDDINGS: {"input": "…"},
    Task.RERANK: {"query": "…", "documents": ["…", "…"]},
    Task.MODERATION: {"input": "…"},
    Task.IMAGE: {"prompt": "…", "n": 1},
}


class PredictionForm(forms.Form):
    """Whom to ask, and what. Only the model knows whether it takes the input."""

    model = forms.CharField(
        label=gettext_lazy("Model or pipeline"),
        max_length=160,
        widget=forms.TextInput(attrs={"class": "input mono", "spellcheck": "false"}),
    )
    input = forms.CharField(
        label=gettext_lazy("Input (JSON)"),
        max_length=INPUT_CHARACTERS_MAX,
        widget=forms.Textarea(attrs={"class": "input mono", "rows": 12, "spellcheck": "false"}),
    )

    def clean_input(self) -> Any:
        try:
            given = json.loads(self.cleaned_data["input"], parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(_("This is no JSON: %(why)s") % {"why": error}) from error
        if found := unkept_in(given):
            raise forms.ValidationError(found)
        return given


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def prediction_new(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Ask for one and go to its page. ``?model=`` fills in an example of what it takes."""
    demand(request, organisation, Permission.CALL)
    name = request.GET.get("model", "")[:160]
    form = PredictionForm(
        request.POST or None, initial={"model": name, "input": _example(name, organisation)}
    )
    if form.is_bound and form.is_valid():
        made = _ask(request, organisation, form)
        if made is not None:
            return redirect("prediction", made.uid)
    return render(
        request, "predictions/new.html", {"form": form}, status=422 if form.is_bound else 200
    )


def _ask(
    request: HttpRequest, organisation: Organisation, form: PredictionForm
) -> Prediction | None:
    """The prediction; None with the form's errors where it is refused."""
    user, given = request.user, form.cleaned_data["input"]
    if not isinstance(user, User):
        return None
    try:
        wanted = called(form.cleaned_data["model"], "", organisation.pk)
        wanted.check(given)
        made, _replayed = prediction_create(
            caller=Caller(organisation.pk, organisation.billing_account.pk, user_id=user.pk),
            asked_by=user,
            asked=Asked(
                model=wanted.model,
                pipeline=wanted.pipeline,
                called_name=wanted.name,
                version=wanted.version,
                input_text=json.dumps(given, separators=(",", ":")),
                priority=str(Priority.INTERACTIVE),
            ),
        )
    except JobError as error:
        form.add_error("model", str(error))
    except (InputInvalid, TooMany) as error:
        form.add_error("input", str(error))
    else:
        return made
    return None


def _example(name: str, organisation: Organisation) -> str:
    """An input of the model's or the pipeline's shape, as far as it says what it takes."""
    pipeline = pipeline_wanted(organisation.pk, name) if name else None
    model = model_wanted(name) if name and pipeline is None else None
    found: Any = {}
    if model is not None:
        found = EXAMPLES.get(model.task) or example_of(model.input_schema or {"type": "object"})
    elif pipeline is not None:
        found = example_of(pipeline.definition.input_schema or {"type": "object"})
    return json.dumps(found, indent=2, ensure_ascii=False)
