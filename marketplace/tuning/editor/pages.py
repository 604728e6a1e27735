"""The pages of the policy editor: draft, changes, preview by replay, publishing."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel, Deployment
from marketplace.catalog.selectors import deployments_live
from marketplace.planning.whatif.pages import STRETCHES
from marketplace.planning.whatif.question import question_of
from marketplace.planning.whatif.selectors import Stretch, answer_kept, stretches, what_ifs
from marketplace.planning.whatif.services import what_if_ask
from marketplace.planning.whatif.table import rows_of
from marketplace.routing.models import Policy, PolicyKind
from marketplace.routing.trials.models import Aim
from marketplace.shared.numbers import whole
from marketplace.tuning import sentences
from marketplace.tuning.editor.forms import PolicyForm
from marketplace.tuning.editor.services import PolicyConflict, draft_check, policy_edit
from marketplace.tuning.services import policy_in_force, tuning_of


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required
def policy(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """Edit a policy, from the version in force or ``?from=``; preview, try or publish it."""
    page = _Page(request, author, slug)
    if request.method != "POST":
        return page.render(page.form_of_version())
    form = PolicyForm(page.deployments, request.POST)
    if not form.is_valid():
        return page.render(form, status=422)
    try:
        draft = page.draft(form)
        if request.POST.get("action") == "preview":
            return page.preview(form, draft)
        policy_edit(
            model=page.model,
            kind=PolicyKind(draft.kind),
            by=request.user,  # type: ignore[arg-type]  # `staff_required` has seen to it
            note=draft.note,
            weights=form.weights_over(page.before.weights),
            expected_version=form.cleaned_data["expected_version"],
            canary_share=page.share(form),
            aim=Aim(form.cleaned_data["aim"]),
        )
    except PolicyConflict as conflict:
        return page.conflict(form, conflict)
    except ValidationError as error:
        return page.render(form, refused=_messages(error), status=422)
    return redirect("route", author, slug)


@require_POST
@staff_required
def policy_draft(request: HttpRequest, author: str, slug: str) -> HttpResponse:
    """The changes of the draft, while it is typed."""
    page = _Page(request, author, slug)
    form = PolicyForm(page.deployments, request.POST)
    if not form.is_valid():
        return render(request, "routing/policy_diff.html", {"invalid": True})
    try:
        rows = sentences.changes(page.before, page.draft(form))
    except ValidationError:
        return render(request, "routing/policy_diff.html", {"invalid": True})
    return render(request, "routing/policy_diff.html", {"rows": rows, "version": page.version})


@require_safe
@staff_required
def policy_preview(request: HttpRequest, what_if_id: int) -> HttpResponse:
    """The progress of a draft's replay, or its result."""
    row = get_object_or_404(what_ifs(), pk=what_if_id)
    answer = answer_kept(row)
    context = {"preview": row, "answer": answer, "rows": rows_of(answer) if answer else []}
    return render(request, "routing/policy_preview.html", context)


class _Page:
    """One request to the editor: the route, and the submitted form."""

    def __init__(self, request: HttpRequest, author: str, slug: str) -> None:
        self.request = request
        self.model = get_object_or_404(AIModel, name=f"{author}/{slug}")
        self.in_force = policy_in_force(self.model)
        self.before = self.in_force or Policy(model=self.model, version=0)
        self.version = self.before.version
        self.deployments: list[Deployment] = list(deployments_live(self.model))
        self.stretches: list[Stretch] = stretches(self.model, timezone.now())

    def form_of_version(self) -> PolicyForm:
        asked = self.request.GET.get("from", "")
        start = self.model.policies.filter(version=whole(asked) or 0).first()
        return PolicyForm.of(
            start or self.before,
            self.deployments,
            version=self.version,
            share=tuning_of(self.model).canary_share,
        )

    def draft(self, form: PolicyForm) -> Policy:
        """The form as a draft. Raises ``ValidationError``."""
        return draft_check(
            model=self.model,
            kind=PolicyKind(form.cleaned_data["kind"]),
            note=form.cleaned_data["note"],
            weights=form.weights_over(self.before.weights),
        )

    def share(self, form: PolicyForm) -> float:
        """The canary share; 0 to publish the draft at once."""
        is_trial = self.request.POST.get("action") == "canary"
        return form.cleaned_data["canary_percent"] / 100 if is_trial else 0.0

    def preview(self, form: PolicyForm, draft: Policy) -> HttpResponse:
        """Start a replay of recorded calls under the draft."""
        chosen = self.request.POST.get("stretch", "")
        stretch = next(
            (option for option in self.stretches if option.name == chosen), self.stretches[0]
        )
        shown = {str(row.pk): draft.weights.get(str(row.pk), 1.0) for row in self.deployments}
        try:
            question = question_of(
                {
                    "model": self.model.name,
                    "since": stretch.since,
                    "until": stretch.until,
                    "policy": {
                        "kind": draft.kind,
                        "wait_weight": draft.wait_weight,
                        "usd_weight_s": draft.usd_weight_s,
                        "hedge_share": draft.hedge_share,
                        "weights": shown,
                    },
                }
            )
            asked_by: User = self.request.user  # type: ignore[assignment]  # staff
            row = what_if_ask(question=question, asked_by=asked_by)
        except ValueError as error:
            return self.render(form, refused=[str(error)], status=422)
        return self.render(form, preview=row, draft=draft)

    def conflict(self, form: PolicyForm, conflict: PolicyConflict) -> HttpResponse:
        """Another version is in force now: show it, and keep the draft to supersede it."""
        current = conflict.current or Policy(model=self.model, version=0)
        seen = self.model.policies.filter(version=conflict.seen).first()
        posted = self.request.POST.copy()
        posted["expected_version"] = str(current.version)
        form = PolicyForm(self.deployments, posted)
        form.is_valid()
        return self.render(
            form,
            draft=self.draft(form),
            conflict={
                "seen": conflict.seen,
                "current": current,
                "rows": sentences.changes(seen or Policy(model=self.model), current),
            },
            status=409,
        )

    def render(
        self,
        form: PolicyForm,
        *,
        refused: list[str] | None = None,
        draft: Policy | None = None,
        status: int = 200,
        **more: Any,
    ) -> HttpResponse:
        open_one = self.model.policies.filter(state__in=["canary", "proposed"]).first()
        context = {
            "model": self.model,
            "form": form,
            "in_force": self.in_force,
            "version": self.version,
            "versions": self.model.policies.order_by("-version")[:50],
            "open": open_one,
            "rows": sentences.changes(self.before, draft) if draft else [],
            "refused": refused,
            "stretches": [(stretch, STRETCHES[stretch.name]) for stretch in self.stretches],
            "chosen_stretch": self.request.POST.get("stretch", ""),
            **more,
        }
        return render(self.request, "routing/policy.html", context, status=status)


def _messages(error: ValidationError) -> list[str]:
    """The messages, each with its field."""
    if not hasattr(error, "error_dict"):
        return error.messages
    return [
        message if field == NON_FIELD_ERRORS else f"{sentences.FIELDS.get(field, field)}: {message}"
        for field, messages in error.message_dict.items()
        for message in messages
    ]
