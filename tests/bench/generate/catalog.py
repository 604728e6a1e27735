"""An emulated catalog, to see and to measure how pages do at size. None of it answers a call."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from marketplace.billing.models import Account, AccountKind
from marketplace.billing.services import system_accounts_open
from marketplace.catalog.models import (
    AIModel,
    Deployment,
    ModelVersion,
    Offer,
    Pool,
    Protocol,
    Provider,
    Quantization,
    Task,
    Worker,
)

PREFIX = "generated"
POOLS = 40
HARDWARE = ("H100", "A100", "RTX 4090", "TPU v5e", "CPU")
CONTEXTS = (8_192, 4_096, 32_768, 131_072, 1_000_000)
PARAMETERS = ("temperature", "max_tokens", "tools", "seed", "response_format", "logprobs")
LICENSES = ("Apache-2.0", "MIT", "Llama-3.3", "")
QUANTIZATIONS = (Quantization.FP8, Quantization.BF16, Quantization.INT4, Quantization.UNSTATED)
WORDS = ("fast", "multilingual", "code", "transactions", "vision", "small", "reasoning")


def is_catalog_generated() -> bool:
    """Whether there is a generated catalog already."""
    return Provider.objects.filter(slug__startswith=f"{PREFIX}-").exists()


@transaction.atomic
def catalog_generate(*, models: int, providers: int) -> None:
    """Make providers and models of every task, size and price, with one or two deployments each.

    Written in bulk and not published: no router is asked to route to what answers nothing.
    """
    system_accounts_open()
    made = _providers(providers)
    pools = _pools()
    versions = ModelVersion.objects.bulk_create(
        ModelVersion(model=model, version="1", notes="The first weights.")
        for model in _models(models, providers)
    )
    deployments = _deployments(versions, made, pools)
    Offer.objects.bulk_create(
        Offer(deployment=deployment, **_price(i, deployment.version.model.task))
        for i, deployment in enumerate(deployments)
    )


def _providers(count: int) -> list[Provider]:
    made = Provider.objects.bulk_create(
        Provider(slug=f"{PREFIX}-{i}", name=f"Generated {i}", emulated=True) for i in range(count)
    )
    Account.objects.bulk_create(
        Account(kind=AccountKind.PROVIDER, provider=provider) for provider in made
    )
    return made


def _pools() -> list[Pool]:
    pools = Pool.objects.bulk_create(
        Pool(
            name=f"{PREFIX}-{i}",
            hardware=HARDWARE[i % len(HARDWARE)],
            engine="none",
            emulated=True,
        )
        for i in range(POOLS)
    )
    Worker.objects.bulk_create(
        # Draining: nothing answers there, so the prober leaves it alone.
        Worker(
            worker_id=f"{pool.name}-0",
            pool=pool,
            url="http://127.0.0.1:9",
            protocol=Protocol.OPENAI,
            draining=True,
        )
        for pool in pools
    )
    return pools


def _models(count: int, providers: int) -> list[AIModel]:
    now = timezone.now()
    return AIModel.objects.bulk_create(
        AIModel(
            name=f"{PREFIX}-{i % providers}/model-{i}",
            display_name=f"Model {i}",
            task=(Task.CHAT, Task.EMBEDDINGS, Task.TABULAR, Task.VISION)[i % 16 % 4],
            description=f"A generated entry of the catalog, number {i}, for "
            f"{WORDS[i % len(WORDS)]} and {WORDS[i // 7 % len(WORDS)]}: it answers nothing.",
            license=LICENSES[i % len(LICENSES)],
            context_tokens_max=CONTEXTS[i % len(CONTEXTS)],
            completion_tokens_max=1_024,
            emulated=True,
            created_at=now - timedelta(hours=i),
        )
        for i in range(count)
    )


def _deployments(
    versions: Sequence[ModelVersion], providers: Sequence[Provider], pools: Sequence[Pool]
) -> list[Deployment]:
    return Deployment.objects.bulk_create(
        Deployment(
            version=version,
            provider=providers[(i + k) % len(providers)],
            pool=pools[(i + k) % len(pools)],
            upstream_model="none",
            quantization=QUANTIZATIONS[(i + k) % len(QUANTIZATIONS)],
            supported_parameters=list(PARAMETERS[: 1 + (i + k) % len(PARAMETERS)]),
            collects_data=(i + k) % 3 == 0,
        )
        for i, version in enumerate(versions)
        for k in range(1 + i % 2)
    )


def _price(i: int, task: str) -> dict[str, Any]:
    """Tokens have a price with every task: the generated history's calls use them."""
    price = {
        "prompt_nano_per_million": 50_000_000 + 10_000_000 * (i % 40),
        "completion_nano_per_million": 100_000_000 + 30_000_000 * (i % 40),
    }
    if task == Task.TABULAR:
        price["row_nano"] = 200 + 10 * (i % 40)
    if task == Task.VISION:
        price["image_nano"] = 50_000 + 1_000 * (i % 40)
    return price
