"""A small marketplace, opened for sale."""

from dataclasses import dataclass
from typing import Any

from django.test import Client

from marketplace.accounts.models import Organisation, User
from marketplace.accounts.services import organisation_create
from marketplace.billing.models import Account
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool, Provider, Worker
from marketplace.catalog.services import offer_publish, provider_create
from router.domain.pricing import Price
from tests.integration.marketplace.ledger import USD, credit_grant


@dataclass(frozen=True)
class Shop:
    """One customer with 10 USD, one provider, one model on one pool with one worker."""

    organisation: Organisation
    owner: User
    provider: Provider
    model: AIModel
    deployment: Deployment
    worker: Worker

    @property
    def customer_account(self) -> Account:
        return Account.objects.get(organisation=self.organisation)

    @property
    def provider_account(self) -> Account:
        return Account.objects.get(provider=self.provider)


def signed_in(user: User, **options: Any) -> Client:
    """A browser in which somebody is signed in; ``options`` are the client's."""
    client = Client(**options)
    client.force_login(user)
    return client


def open_shop() -> Shop:
    owner = User.objects.create_user("owner@example.com")
    organisation = organisation_create(name="Acme", slug="acme", owner=owner)
    credit_grant(organisation=organisation, amount_nano=10 * USD, idem_key="welcome")
    provider = provider_create(slug="northyard", name="Northyard Compute")
    model = AIModel.objects.create(name="author/slug", display_name="Slug", task="chat")
    version = ModelVersion.objects.create(model=model, version="1")
    pool = Pool.objects.create(name="fast", hardware="CPU", engine="llama.cpp")
    worker = Worker.objects.create(
        worker_id="fast-0", pool=pool, url="http://127.0.0.1:9/", protocol="openai", slots=2
    )
    deployment = Deployment.objects.create(
        version=version, provider=provider, pool=pool, upstream_model="slug"
    )
    offer_publish(deployment=deployment, price=Price(id=0, prompt_nano_per_million=20_000_000))
    return Shop(organisation, owner, provider, model, deployment, worker)
