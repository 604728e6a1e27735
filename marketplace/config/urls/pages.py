"""The URLs of pages."""

from django.urls import URLPattern, URLResolver, include, path

from marketplace.accounts.organisations import current as accounts
from marketplace.accounts.organisations import pages as organisations
from marketplace.agents import pages as agents
from marketplace.audit import pages as audit
from marketplace.batches import pages as batches
from marketplace.benchmarks import pages as benchmarks
from marketplace.billing import pages as billing
from marketplace.billing.budgets import pages as budgets
from marketplace.billing.credit import pages as credit
from marketplace.billing.invoices import pages as invoices
from marketplace.billing.payments import pages as payments
from marketplace.billing.payments.stripe.webhook import stripe_webhook
from marketplace.closing import pages as closing
from marketplace.config.search import pages as search
from marketplace.dead_letters import pages as dead_letters
from marketplace.endpoints import pages as endpoints
from marketplace.keys import pages as keys
from marketplace.keys.consents import pages as consents
from marketplace.operations.status import pages as status
from marketplace.planning.advisor import pages as advisor
from marketplace.planning.whatif import pages as what_ifs
from marketplace.predictions import pages as predictions
from marketplace.predictions.asking.new_page import prediction_new
from marketplace.presets import pages as presets
from marketplace.providers import pages as providers
from marketplace.providers.on_sale import pages as sold
from marketplace.providers.pipelines import pages as pipelines
from marketplace.routing import pages as routing
from marketplace.routing.topology import pages as topology
from marketplace.storefront.browse import pages as browse
from marketplace.storefront.compare import pages as compare
from marketplace.storefront.landing import pages as landing
from marketplace.storefront.rankings import pages as rankings
from marketplace.storefront.start import pages as start
from marketplace.support import actions
from marketplace.support import pages as support
from marketplace.tuning import pages as tuning
from marketplace.tuning.editor import pages as editor
from marketplace.usage import pages as usage
from marketplace.webhooks import pages as webhooks

urlpatterns: list[URLPattern | URLResolver] = [
    path("", landing.landing, name="landing"),
    path("models", browse.catalog, name="catalog"),
    path("models/<str:author>/<str:slug>", browse.model, name="model"),
    path("compare", compare.compare, name="compare"),
    path("rankings", rankings.rankings, name="rankings"),
    path("status", status.status, name="status"),
    path("start", start.start, name="start"),
    path("search", search.search_page, name="search"),
    path("start/key", start.key_make, name="start-key"),
    path("start/call", start.call, name="start-call"),
    path("organisation/switch", accounts.organisation_switch, name="organisation-switch"),
    path("keys", keys.keys, name="keys"),
    path("keys/create", keys.key_create, name="key-create"),
    path("keys/<int:key_id>", keys.key, name="key"),
    path("keys/<int:key_id>/revoke", keys.key_revoke, name="key-revoke"),
    path("keys/<int:key_id>/rotate", keys.key_rotate, name="key-rotate"),
    path("auth", consents.authorize, name="authorize"),
    path("endpoints", endpoints.endpoints, name="own-endpoints"),
    path("endpoints/new", endpoints.endpoint_new, name="own-endpoint-new"),
    path(
        "endpoints/new-host", endpoints.endpoint_new, {"hosted": True}, name="own-endpoint-new-host"
    ),
    path("endpoints/<int:endpoint_id>", endpoints.endpoint, name="own-endpoint"),
    path("endpoints/<int:endpoint_id>/key", endpoints.endpoint_rotate, name="own-endpoint-rotate"),
    path("endpoints/<int:endpoint_id>/try", endpoints.endpoint_try, name="own-endpoint-try"),
    path("endpoints/<int:endpoint_id>/hosts", agents.endpoint_hosts, name="own-endpoint-hosts"),
    path(
        "endpoints/<int:endpoint_id>/agents/<int:agent_id>/revoke",
        agents.endpoint_agent_revoke,
        name="own-endpoint-agent-revoke",
    ),
    path(
        "endpoints/<int:endpoint_id>/tokens/<int:token_id>/end",
        agents.endpoint_token_end,
        name="own-endpoint-token-end",
    ),
    path(
        "endpoints/<int:endpoint_id>/remove", endpoints.endpoint_remove, name="own-endpoint-remove"
    ),
    path("presets", presets.presets, name="presets"),
    path("presets/new", presets.preset_new, name="preset-new"),
    path("presets/<slug:name>", presets.preset, name="preset"),
    path("presets/<slug:name>/retire", presets.retire, name="preset-retire"),
    path("batches", batches.batches, name="batches"),
    path("batches/upload", batches.upload, name="batch-upload"),
    path("batches/<str:public_id>", batches.batch, name="batch"),
    path("batches/<str:public_id>/cancel", batches.cancel, name="batch-cancel"),
    path("batches/<str:public_id>/<str:kind>", batches.download, name="batch-file"),
    path("webhooks", webhooks.webhooks, name="webhooks"),
    path("webhooks/secret", webhooks.secret_make, name="webhook-secret"),
    path("webhooks/<int:delivery_id>", webhooks.delivery, name="webhook-delivery"),
    path("webhooks/<int:delivery_id>/resend", webhooks.resend, name="webhook-resend"),
    path("usage", usage.usage, name="usage"),
    path("usage.csv", usage.usage_csv, name="usage-csv"),
    path("usage/<uuid:request_id>", usage.call, name="call"),
    path("predictions", predictions.predictions, name="predictions"),
    path("predictions/new", prediction_new, name="prediction-new"),
    path("predictions/<uuid:uid>", predictions.prediction, name="prediction"),
    path("predictions/<uuid:uid>/cancel", predictions.cancel, name="prediction-cancel"),
    path("billing", billing.billing, name="billing"),
    path("billing.csv", billing.movements_file, name="billing-csv"),
    path("budgets", budgets.budgets, name="budgets"),
    path("budgets/organisation", budgets.budget_put, name="organisation-budget"),
    path("budgets/members/<int:user_id>", budgets.budget_put, name="member-budget"),
    path("reconciliation", billing.reconciliation, name="reconciliation"),
    path("billing/<str:number>.csv", invoices.statement_as_csv, name="statement-csv"),
    path("billing/focus/<str:month>.csv", invoices.focus_file, name="focus-csv"),
    path("billing/<str:number>.pdf", invoices.statement_as_pdf, name="statement-pdf"),
    path("earnings", invoices.earnings, name="earnings"),
    path("billing/topup", payments.topup, name="topup"),
    path("billing/credit-request", credit.ask, name="credit-request"),
    path("credit-requests", credit.requests, name="credit-requests"),
    path(
        "credit-requests/<int:request_id>/grant",
        credit.answer,
        {"action": "grant"},
        name="credit-request-grant",
    ),
    path(
        "credit-requests/<int:request_id>/decline",
        credit.answer,
        {"action": "decline"},
        name="credit-request-decline",
    ),
    path("billing/auto-recharge", payments.auto_recharge, name="auto-recharge"),
    path("billing/forget-card", payments.card_remove, name="forget-card"),
    path("billing/payments/<uuid:payment_id>", payments.payment, name="payment"),
    path("webhooks/stripe", stripe_webhook, name="stripe-webhook"),
    path("advisor", advisor.advisor, name="advisor"),
    path("advisor/<int:advice_id>", advisor.advice, name="advice"),
    path("advisor/<int:advice_id>/pilot", advisor.pilot, name="advice-pilot"),
    path("routes", routing.routes, name="routes"),
    path("what-if", what_ifs.ask, name="what-if"),
    path("what-if/<int:what_if_id>", what_ifs.answered, name="what-if-answer"),
    path("benchmarks", benchmarks.benchmarks, name="benchmarks"),
    path("benchmarks/create", benchmarks.create, name="benchmark-create"),
    path("benchmarks/compare", benchmarks.compare, name="benchmarks-compare"),
    path("benchmarks/<int:benchmark_id>", benchmarks.benchmark, name="benchmark"),
    path("benchmarks/<int:benchmark_id>/cancel", benchmarks.cancel, name="benchmark-cancel"),
    path("benchmarks/<int:benchmark_id>/repeat", benchmarks.repeat, name="benchmark-repeat"),
    path(
        "benchmarks/<int:benchmark_id>/export/<str:kind>",
        benchmarks.benchmark_file,
        name="benchmark-file",
    ),
    path("routes/<str:author>/<str:slug>", tuning.route, name="route"),
    path("routes/<str:author>/<str:slug>/tune", tuning.route_tune, name="route-tune"),
    path("routes/<str:author>/<str:slug>/revert", tuning.route_revert, name="route-revert"),
    path(
        "proposals/<int:trial_id>/approve",
        tuning.trial_conclude,
        {"action": "approve"},
        name="proposal-approve",
    ),
    path(
        "proposals/<int:trial_id>/dismiss",
        tuning.trial_conclude,
        {"action": "dismiss"},
        name="proposal-dismiss",
    ),
    path(
        "proposals/<int:trial_id>/rollback",
        tuning.trial_conclude,
        {"action": "rollback"},
        name="proposal-rollback",
    ),
    path(
        "benchmarks/<int:benchmark_id>/propose",
        tuning.benchmark_propose,
        name="benchmark-propose",
    ),
    # The platform's staff: the fleet.
    path("topology", topology.topology, name="topology"),
    path("topology/live", topology.topology_live, name="topology-live"),
    path("topology/workers/<str:worker_id>", topology.worker, name="worker"),
    path("pools/<str:name>/workers", agents.pool_workers, name="pool-workers"),
    path("pools/<str:name>/agents/<str:agent>/revoke", agents.pool_revoke, name="agent-revoke"),
    path(
        "pools/<str:name>/tokens/<int:token_id>/end", agents.pool_token_end, name="worker-token-end"
    ),
    path("routes/<str:author>/<str:slug>/policy", editor.policy, name="policy-edit"),
    path("routes/<str:author>/<str:slug>/policy/draft", editor.policy_draft, name="policy-draft"),
    path("previews/<int:what_if_id>", editor.policy_preview, name="policy-preview"),
    path("dead-letters", dead_letters.dead_letters, name="dead-letters"),
    path("dead-letters/<int:letter_id>/retry", dead_letters.retry, name="dead-letter-retry"),
    path("support", support.support, name="support"),
    path("support/<slug:slug>", support.organisation, name="support-organisation"),
    path("support/<slug:slug>/credit", actions.credit, name="support-credit"),
    path("support/<slug:slug>/limits", actions.limits, name="support-limits"),
    path("support/<slug:slug>/write-off", actions.write_off, name="support-write-off"),
    path(
        "support/<slug:slug>/payments/<uuid:payment_id>/refund",
        actions.refund,
        name="support-refund",
    ),
    path(
        "support/<slug:slug>/providers/<slug:provider>/payout",
        actions.payout,
        name="support-payout",
    ),
    path(
        "support/<slug:slug>/keys/<int:key_id>/revoke",
        actions.key_revoke,
        name="support-key-revoke",
    ),
    path("support/people/<int:user_id>", support.person, name="support-person"),
    path("support/calls/<uuid:request_id>", support.call, name="support-call"),
    path("provide", providers.provide, name="provide"),
    path("provide/providers", providers.provider_create, name="provider-create"),
    path("provide/providers/<slug:slug>", providers.provider, name="provider-edit"),
    path("provide/listings", providers.listing_new, name="listing-create"),
    path("provide/listings/<int:listing_id>", providers.listing, name="listing"),
    path("provide/listings/<int:listing_id>/edit", providers.listing_edit, name="listing-edit"),
    path("provide/listings/<int:listing_id>/act", providers.listing_do, name="listing-act"),
    path("provide/deployments/<int:deployment_id>", sold.deployment, name="deployment"),
    path("provide/deployments/<int:deployment_id>/price", sold.price, name="deployment-price"),
    path(
        "provide/deployments/<int:deployment_id>/price/withdraw",
        sold.price_take_back,
        name="price-withdraw",
    ),
    path("provide/pipelines", pipelines.pipelines, name="pipelines"),
    path("provide/pipelines/new", pipelines.pipeline_new, name="pipeline-new"),
    path("provide/pipelines/<str:author>/<str:slug>", pipelines.pipeline, name="pipeline"),
    path(
        "provide/pipelines/<str:author>/<str:slug>/version",
        pipelines.pipeline_version,
        name="pipeline-version",
    ),
    path(
        "provide/pipelines/<str:author>/<str:slug>/retire",
        pipelines.pipeline_retire,
        name="pipeline-retire",
    ),
    path("reviews", providers.reviews, name="reviews"),
    path("reviews/<int:listing_id>", providers.review, name="review"),
    path("reviews/<int:listing_id>/act", providers.review_do, name="review-act"),
    path(
        "reviews/providers/<slug:slug>/commission",
        providers.provider_commission,
        name="provider-commission",
    ),
    # Accounts: people, organisations, the audit log.
    path("", include("marketplace.accounts.urls")),
    path("welcome", organisations.welcome, name="welcome"),
    path("invitations/<str:token>", organisations.invitation, name="invitation"),
    path("organisation", organisations.organisation, name="organisation"),
    path("organisation/close", closing.close, name="organisation-close"),
    path("organisation/rename", organisations.rename, name="organisation-rename"),
    path("organisation/responses", organisations.responses, name="organisation-responses"),
    path("organisation/apps", organisations.apps, name="organisation-apps"),
    path("organisation/masks", organisations.masks, name="organisation-masks"),
    path("organisation/guard", keys.organisation_guards, name="organisation-guard"),
    path("organisation/invite", organisations.invite, name="organisation-invite"),
    path(
        "organisation/members/<int:member_id>/role", organisations.member_role, name="member-role"
    ),
    path(
        "organisation/members/<int:member_id>/remove",
        organisations.member_removal,
        name="member-remove",
    ),
    path(
        "organisation/invitations/<int:invitation_id>/resend",
        organisations.invitation_change,
        {"action": "resend"},
        name="invitation-resend",
    ),
    path(
        "organisation/invitations/<int:invitation_id>/revoke",
        organisations.invitation_change,
        {"action": "revoke"},
        name="invitation-revoke",
    ),
    path("audit-log", audit.audit_log, name="audit-log"),
    path("audit-log/all", audit.audit_log_whole, name="audit-log-all"),
]
