"""One job of each kind, asked for as its feature does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from marketplace.batches.models import Batch
from marketplace.benchmarks.models import Benchmark, Origin, Profile, Target
from marketplace.benchmarks.services import benchmark_request
from marketplace.catalog.models import Worker
from marketplace.inference.callers import Caller
from marketplace.planning.advisor.models import Advice
from marketplace.planning.advisor.question import Question
from marketplace.planning.advisor.services import advice_make
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.question import question_of
from marketplace.planning.whatif.services import what_if_ask
from marketplace.predictions.models import Prediction
from marketplace.predictions.services import Asked, prediction_create
from marketplace.providers.listings.states import ListingAction, Who
from marketplace.providers.models import ConformanceRun
from marketplace.providers.services import Actor, listing_act, listing_create, provider_open
from marketplace.shared.jobs.models import Job
from tests.integration.marketplace.batches.desk import asked, chat_lines, files_in_a_folder, routed
from tests.integration.marketplace.predictions.routers import fake_router
from tests.integration.marketplace.providers.servers import fake_openai, whole_draft
from tests.integration.marketplace.recorded import lived
from tests.integration.marketplace.shop import Shop


@contextmanager
def what_if(shop: Shop) -> Iterator[Job]:
    since, _deployments = lived(shop, count=300, load=0.5)
    asked = {"model": shop.model.name, "since": since, "until": since + timedelta(hours=1)}
    yield what_if_ask(question=question_of(asked), asked_by=shop.owner)


@contextmanager
def advice(shop: Shop) -> Iterator[Job]:
    pool = shop.deployment.pool
    pool.cost_nano_per_hour = 500_000_000
    pool.save()
    Profile.objects.create(
        deployment=shop.deployment,
        service_ms=200.0,
        slots=4,
        batch_curve=[[2, 1.1], [4, 1.4]],
        origin=Origin.BENCHMARK,
        samples=2_000,
        source="here",
        published=True,
    )
    question = Question(model=shop.model.name, rate_hz=20, slo_ms=900, share=0.9, size_cv=0.5)
    yield advice_make(organisation=shop.organisation, user=shop.owner, question=question)


@contextmanager
def check(shop: Shop) -> Iterator[Job]:
    provider = provider_open(organisation=shop.organisation, slug="harbour", name="Harbour")
    with fake_openai() as url:
        listing = listing_create(provider=provider, created_by=shop.owner, **whole_draft(url))
        actor = Actor(Who.PROVIDER, shop.owner.email, shop.owner)
        listing_act(listing=listing, action=ListingAction.SUBMIT, actor=actor)
        yield ConformanceRun.objects.get()


@contextmanager
def batch(shop: Shop) -> Iterator[Job]:
    with files_in_a_folder(), routed():
        yield asked(shop, chat_lines(30))


@contextmanager
def prediction(shop: Shop) -> Iterator[Job]:
    # Of a key: a person's membership is looked up outside of a test's transaction.
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, key_id=1)
    asked = Asked(model=shop.model, version="1", input_text='{"messages": []}', priority="standard")
    with fake_router():
        yield prediction_create(caller=caller, asked_by=shop.owner, asked=asked)[0]


@contextmanager
def benchmark(shop: Shop) -> Iterator[Job]:
    settings = {"loads": [1], "samples_min": 1, "seconds_min": 0.1, "seconds_max": 5}
    with fake_openai() as url:
        Worker.objects.filter(pk=shop.worker.pk).update(url=url)
        yield benchmark_request(
            model=shop.model,
            target=Target.DEPLOYMENT,
            deployment=shop.deployment,
            settings={**settings, "warm_up": 1, "completion_tokens": 4},
            asked_by=shop.owner,
        )


ASKED: dict[type[Job], Callable[[Shop], AbstractContextManager[Job]]] = {
    Advice: advice,
    Batch: batch,
    Benchmark: benchmark,
    ConformanceRun: check,
    Prediction: prediction,
    WhatIf: what_if,
}
