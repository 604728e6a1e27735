"""Acme: a customer and provider with one row of everything that may be somebody's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias
from unittest import mock

from django.core import serializers
from django.db.models import Model
from django.utils import timezone

from marketplace.accounts.invitations.services import invitation_create
from marketplace.accounts.models import ApiKey, Membership, Organisation, Role, User
from marketplace.accounts.services import api_key_create
from marketplace.agents.reports import Introduction
from marketplace.agents.services import agent_register
from marketplace.agents.tokens import worker_token_create
from marketplace.audit.selectors import entries_of
from marketplace.batches.models import Batch, File
from marketplace.benchmarks.models import Benchmark
from marketplace.billing.budgets.services import budget_set
from marketplace.billing.credit.services import credit_request
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import CLOCK_SKEW, statement_issue
from marketplace.billing.models import Transfer
from marketplace.billing.payments.models import AutoRecharge, Payment
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.services import payout_record
from marketplace.endpoints.services import own_endpoint_list
from marketplace.pipelines.services import pipeline_apply
from marketplace.planning.advisor.models import Advice
from marketplace.predictions.models import Prediction
from marketplace.presets.services import preset_save
from marketplace.providers.services import listing_create
from marketplace.usage.models import UsageEvent
from marketplace.webhooks.services import secret_rotate, webhook_send
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

Rows: TypeAlias = dict[str, tuple[object, Model]]
"""By resource: the value in the path, and the row."""


@dataclass(frozen=True)
class Acme:
    """What there is of Acme."""

    shop: Shop
    rows: Rows

    def stored(self) -> str:
        """Every row in the database."""
        for _, row in self.rows.values():
            row.refresh_from_db()
        return serializers.serialize("json", [row for _, row in self.rows.values()])


def open_acme(shop: Shop) -> Acme:
    """Make the rows."""
    organisation, provider = shop.organisation, shop.provider
    provider.organisation = organisation
    provider.save()
    key, _ = api_key_create(organisation=organisation, name="of-acme")
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=1_000,
            key_id=key.pk,
        )
    )
    rows = {**_money(shop), **_offers(shop), **_jobs(shop, key), **_people(shop, key)}
    return Acme(shop, rows)


def _people(shop: Shop, key: ApiKey) -> Rows:
    """The organisation, its members, and what they set up."""
    organisation = shop.organisation
    membership = Membership.objects.get(user=shop.owner)
    invitation = invitation_create(
        organisation=organisation, email="new@example.com", role=Role.VIEWER, invited_by=shop.owner
    )
    delivery = webhook_send(
        organisation_id=organisation.pk,
        url="https://hooks.example/of-acme",
        event_type="prediction.completed",
        payload={},
        event_id="evt_1",
    )
    secret, _ = secret_rotate(organisation=organisation, overlap=timedelta())
    preset, _ = preset_save(
        organisation=organisation, name="brief-of-acme", system="Be brief as Acme is."
    )
    entry = entries_of(Organisation.objects.filter(pk=organisation.pk))[0]
    return {
        "organisations": (organisation.slug, organisation),
        "members": (membership.pk, membership),
        "invitations": (invitation.pk, invitation),
        "keys": (key.pk, key),
        "presets": (preset.pk, preset),
        "webhook-deliveries": (delivery.pk, delivery),
        "webhook-secrets": (secret.pk, secret),
        "audit-log": (entry.pk, entry),
    }


def _money(shop: Shop) -> Rows:
    """What a call moved, and what people pay, owe and are paid."""
    organisation, provider, account = shop.organisation, shop.provider, shop.customer_account
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    payout = payout_record(
        provider=provider, amount_nano=1, reference="a transfer", ordered_by=staff
    )
    budget = budget_set(organisation=organisation, limit_nano=10_000)
    grant = grant_order(
        organisation=organisation,
        amount_nano=1_000,
        reason="a gift",
        ordered_by=staff,
        idem_key="gift",
    )
    asked = credit_request(
        organisation=organisation, amount_cents=500, reason="a look", requested_by=shop.owner
    )
    payment = Payment.objects.create(organisation=organisation, purpose="topup", amount_cents=2_500)
    rule = AutoRecharge.objects.create(
        organisation=organisation, threshold_cents=100, amount_cents=500, cap_cents=1_000
    )
    month = Month.of(timezone.now())
    with mock.patch.object(timezone, "now", return_value=month.end + CLOCK_SKEW):
        invoice = statement_issue(account=shop.customer_account, month=month)
        statement = statement_issue(account=shop.provider_account, month=month)
    assert invoice is not None
    assert statement is not None
    event = UsageEvent.objects.get()
    transfer = Transfer.objects.filter(credit=shop.provider_account).first()
    assert transfer is not None
    return {
        "budgets": (budget.pk, budget),
        "usage": (event.request_id, event),
        "grants": (grant.pk, grant),
        "credit-requests": (asked.pk, asked),
        "payments": (payment.pk, payment),
        "auto-recharge": (organisation.slug, rule),
        "invoices": (invoice.number, invoice),
        "payout-statements": (statement.number, statement),
        "payouts": (payout.pk, payout),
        "ledger/accounts": (account.pk, account),
        "ledger/transfers": (transfer.pk, transfer),
    }


def _offers(shop: Shop) -> Rows:
    """Of the provider: models of every kind, and the host of a worker."""
    organisation, provider = shop.organisation, shop.provider
    listing = listing_create(provider=provider, created_by=shop.owner)
    _, token = worker_token_create(pool=shop.worker.pool, created_by=shop.owner)
    agent, _ = agent_register(token=token, who=Introduction("gpu-of-acme", [], "ab" * 8, "1"))
    pipeline, _ = pipeline_apply(
        text=json.dumps(
            {
                "name": f"{organisation.slug}/of-acme",
                "stages": [{"name": "say", "model": shop.model.name, "input": {"prompt": "x"}}],
                "output": 1,
            }
        ).encode(),
        organisation=organisation,
    )
    endpoint = own_endpoint_list(
        organisation=organisation,
        slug="llm-of-acme",
        task="chat",
        url="https://192.0.78.9",
        key="key-of-acme-0123456789",
        upstream_model="llama",
        stands_for=shop.model,
    )
    hosted = own_endpoint_list(
        organisation=organisation,
        slug="hosts-of-acme",
        task="chat",
        hosted=True,
        upstream_model="llama",
    )
    own_token, secret = worker_token_create(endpoint=hosted, created_by=shop.owner)
    own_agent, _ = agent_register(token=secret, who=Introduction("own-of-acme", [], "ab" * 8, "1"))
    return {
        "earnings": (provider.slug, provider),
        "providers": (provider.slug, provider),
        "listings": (listing.pk, listing),
        "offerings": (shop.deployment.pk, shop.deployment),
        "agents": (agent.pk, agent),
        "worker-tokens": (agent.token.pk, agent.token),
        "pipelines": (pipeline.name, pipeline),
        "endpoints": (endpoint.pk, endpoint),
        "endpoints/hosted": (hosted.pk, hosted),
        "endpoints/agents": (own_agent.pk, own_agent),
        "endpoints/tokens": (own_token.pk, own_token),
    }


def _jobs(shop: Shop, key: ApiKey) -> Rows:
    """Work that somebody asked for."""
    organisation, expires_at = shop.organisation, timezone.now() + timedelta(days=1)
    advice = Advice.objects.create(
        organisation=organisation, model=shop.model.name, question={}, answer={}
    )
    benchmark = Benchmark.objects.create(
        model=shop.model, target="deployment", deployment=shop.deployment, scenario="offline"
    )
    file = File.objects.create(
        organisation=organisation,
        purpose="batch",
        filename="lines-of-acme.jsonl",
        size_bytes=1,
        stored_as="nowhere",
        expires_at=expires_at,
    )
    batch = Batch.objects.create(
        organisation=organisation,
        account_id=shop.customer_account.pk,
        key_id=key.pk,
        endpoint="/v1/chat/completions",
        input_file=file,
        completion_window="24h",
        expires_at=expires_at,
    )
    prediction = Prediction.objects.create(
        organisation=organisation,
        account_id=shop.customer_account.pk,
        key_id=key.pk,
        model=shop.model,
        version="1",
        input_text='{"prompt": "asked-by-acme"}',
        priority="standard",
    )
    return {
        "advice": (advice.pk, advice),
        "benchmarks": (benchmark.pk, benchmark),
        "files": (file.public_id, file),
        "batches": (batch.public_id, batch),
        "predictions": (prediction.uid, prediction),
    }
