"""The hardware advisor's pages."""

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.planning.advisor.answer import Compared, answer_of
from marketplace.planning.advisor.forms import AdvisorForm, initial_of, prices_of
from marketplace.planning.advisor.models import Advice
from marketplace.planning.advisor.presets import presets_of
from marketplace.planning.advisor.question import Question
from marketplace.planning.advisor.services import PilotImpossible, advice_make, pilot_start
from marketplace.planning.asking import QuestionInvalid, QueueFull
from marketplace.shared.numbers import whole

RECENT = 10


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def advisor(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The question; asked, it is answered by the model at once and checked by a job."""
    if request.method == "POST":
        form = AdvisorForm(request.POST)
        advice = _asked(request, organisation, form)
        if advice is not None:
            return redirect("advice", advice.pk)
    else:
        known = {name: request.GET[name] for name in AdvisorForm.base_fields if name in request.GET}
        form = AdvisorForm(initial=known)
    context = {
        "form": form,
        # Of the answer that the question was changed from.
        "prices": list(
            zip(request.POST.getlist("price_name"), request.POST.getlist("price_usd"), strict=False)
        ),
        "presets": presets_of(organisation.pk),
        "recent": Advice.objects.filter(organisation=organisation)[:RECENT],
    }
    status = 422 if form.is_bound else 200
    return render(request, "benchmarks/advisor.html", context, status=status)


@require_safe
@organisation_required
def advice(request: HttpRequest, organisation: Organisation, advice_id: int) -> HttpResponse:
    """One answer. While it is checked the page asks again by itself."""
    row = get_object_or_404(Advice, pk=advice_id, organisation=organisation)
    question = msgspec.convert(row.question, Question)
    answer = answer_of(row.answer)
    compared = list(answer.compared)
    if answer.fleet is not None:
        figures = answer.check.figures if answer.check else None
        compared.insert(0, Compared("advised", answer.fleet, figures))
    context = {
        "advice": row,
        "question": question,
        "answer": answer,
        "form": AdvisorForm(initial=initial_of(question)),
        "compared": compared,
        "dearest": max((row.fleet.cost_usd for row in compared if row.fleet), default=0.0),
        "dearest_step": max((step.cost_usd or 0.0 for step in answer.sensitivity), default=0.0),
    }
    return render(request, "benchmarks/advice.html", context)


@require_POST
@organisation_required
def pilot(request: HttpRequest, organisation: Organisation, advice_id: int) -> HttpResponse:
    """Start a benchmark that the answer asks for."""
    row = get_object_or_404(Advice, pk=advice_id, organisation=organisation)
    if not isinstance(request.user, User) or not request.user.is_staff:
        raise PermissionDenied(_("Only the platform's staff can start benchmarks."))
    deployment_id = whole(request.POST.get("deployment", "")) or 0
    try:
        made = pilot_start(advice=row, deployment_id=deployment_id, user=request.user)
    except PilotImpossible as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Benchmark %(number)s is queued.") % {"number": made.pk})
    return redirect("advice", row.pk)


def _asked(request: HttpRequest, organisation: Organisation, form: AdvisorForm) -> Advice | None:
    if not form.is_valid():
        return None
    try:
        prices = prices_of(request.POST.getlist("price_name"), request.POST.getlist("price_usd"))
        user = request.user if isinstance(request.user, User) else None
        question = form.question(prices)
        return advice_make(organisation=organisation, user=user, question=question)
    except (QuestionInvalid, QueueFull) as error:
        form.add_error(None, str(error))
        return None
