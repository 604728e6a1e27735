"""The catalog: filters, search, sorts, chips, the choice to compare; all of it in the URL."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Offer, Pool, Provider
from marketplace.storefront.browse.filters import filters_of
from marketplace.usage.services import figures_compute
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.ledger import as_owner
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def add_model(name: str, *, offers: bool = True, **values: object) -> AIModel:
    """A published model with one live deployment of its own."""
    deployed = {
        key: values.pop(key) for key in ("supported_parameters", "collects_data") if key in values
    }
    price = {key: values.pop(key) for key in list(values) if key.endswith(("_nano", "_million"))}
    hardware = values.pop("hardware", "CPU")
    model = AIModel.objects.create(
        name=name, **{"display_name": name.partition("/")[2], "task": "chat", **values}
    )
    pool = Pool.objects.create(
        name=name.replace("/", "-"), hardware=hardware, engine="x", emulated=model.emulated
    )
    provider, _ = Provider.objects.get_or_create(
        slug=model.author, defaults={"name": f"The {model.author}"}
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=provider,
        pool=pool,
        upstream_model="x",
        **deployed,
    )
    if offers:
        Offer.objects.create(deployment=deployment, **price)
    return model


def shown(query: str) -> list[str]:
    return [row.model.name for row in Client().get(f"/models?{query}").context["rows"]]


@pytest.fixture
def stock(shop: Shop) -> None:
    add_model(
        "yard/llama-3.3-70b",
        display_name="Llama 3.3 70B",
        description="Answers questions in many languages.",
        context_tokens_max=131_072,
        hardware="H100",
        supported_parameters=["tools", "seed"],
        collects_data=False,
        prompt_nano_per_million=1_000_000_000,
        completion_nano_per_million=2_000_000_000,
    )
    add_model(
        "yard/fraude",
        display_name="Fraude",
        description="Pontua transações de cartão: quais parecem fraudulentas.",
        task="tabular",
        row_nano=5_000,
        emulated=True,
    )
    add_model("dock/seer", display_name="Seer", task="vision", context_tokens_max=0)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("task=vision&task=tabular", {"dock/seer", "yard/fraude"}),
        ("takes=text", {"author/slug", "yard/llama-3.3-70b"}),
        ("takes=image&takes=table", {"dock/seer", "yard/fraude"}),
        ("context=131072", {"yard/llama-3.3-70b"}),
        ("context=131073", set()),
        ("price=2.99", {"author/slug", "yard/fraude", "dock/seer"}),
        ("price=3", {"author/slug", "yard/fraude", "dock/seer", "yard/llama-3.3-70b"}),
        ("provider=yard&hardware=H100", {"yard/llama-3.3-70b"}),
        ("provider=yard&hardware=CPU", {"yard/fraude"}),
        ("parameter=tools&parameter=seed", {"yard/llama-3.3-70b"}),
        ("parameter=tools&parameter=logprobs", set()),
        ("private=1", {"yard/llama-3.3-70b"}),
        ("kind=emulated", {"yard/fraude"}),
        ("price=2,99", {"author/slug", "yard/fraude", "dock/seer"}),
        ("price=nonsense&context=-1&kind=x", None),
    ],
)
def test_filters(stock: None, query: str, names: set[str] | None) -> None:
    everything = {"author/slug", "yard/llama-3.3-70b", "yard/fraude", "dock/seer"}
    assert set(shown(query)) == (everything if names is None else names)


def test_a_chip_writes_its_figure_as_the_reader_does(shop: Shop) -> None:
    page = Client(headers={"accept-language": "pt-br"}).get("/models?context=32768")
    ((label, _url),) = page.context["chips"]
    assert "32.768" in label


@pytest.mark.parametrize(
    ("typed", "said"), [("1,000", "write 1000 or 1.00."), ("dear", "a number from 0 to 1,000,000")]
)
def test_a_price_that_is_not_read_is_told_and_kept(stock: None, typed: str, said: str) -> None:
    page = Client().get("/models", {"price": typed})
    assert said in page.text
    assert f'value="{typed}"' in page.text
    part = Client().get("/models", {"price": typed}, headers={"HX-Request": "true"})
    assert said in part.text


def test_a_price_with_three_decimals_is_the_same_in_links_fields_and_the_api(
    stock: None,
) -> None:
    page = Client().get("/models?price=1.1250")
    assert page.context["filters"].price_max == Decimal("1.125")
    assert 'value="1.1250"' in page.text
    assert "price=1.1250" in page.context["filters"].url()
    assert [label for label, _url in page.context["chips"]] == ["Up to $1.125"]
    # A program's point is a decimal sign.
    found = Client().get("/api/v1/models?price=2.999").json()["results"]
    assert {one["name"] for one in found} == {"author/slug", "yard/fraude", "dock/seer"}


def test_filters_are_asked_of_one_deployment(shop: Shop) -> None:
    model = add_model("yard/two", hardware="H100", supported_parameters=["tools"])
    pool = Pool.objects.create(name="other", hardware="TPU", engine="x")
    second = Deployment.objects.create(
        version=model.versions.get(), provider=shop.provider, pool=pool, upstream_model="x"
    )
    Offer.objects.create(deployment=second)
    assert shown("hardware=TPU&provider=northyard") == ["yard/two"]
    assert shown("hardware=TPU&parameter=tools") == []


def test_only_what_was_measured(shop: Shop) -> None:
    add_model("yard/idle")
    settled_call(shop)
    figures_compute()
    assert shown("measured=1") == ["author/slug"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("llama", ["yard/llama-3.3-70b"]),
        ("lla", ["yard/llama-3.3-70b"]),
        ("LLAMA 70b", ["yard/llama-3.3-70b"]),
        ("answering question", ["yard/llama-3.3-70b"]),
        ("transações", ["yard/fraude"]),
        ("cartao", ["yard/fraude"]),
        ("transac", ["yard/fraude"]),
        ("fraudulenta", ["yard/fraude"]),
        ("yard", ["yard/llama-3.3-70b", "yard/fraude"]),
        ("llama fraude", []),
        ("'); DROP TABLE & | ! <-> :*", []),
        ("&|!", []),
    ],
)
def test_search_by_words_and_their_beginnings(stock: None, words: str, names: list[str]) -> None:
    page = Client().get("/models", {"q": words})
    assert [row.model.name for row in page.context["rows"]] == names
    assert page.context["is_alike"] == (not names)


def test_a_name_outranks_a_description(shop: Shop) -> None:
    add_model("yard/a-first", description="Better than any whale.")
    add_model("yard/z-last", display_name="Whale")
    assert shown("q=whale") == ["yard/z-last", "yard/a-first"]
    assert shown("q=whale&sort=name") == ["yard/a-first", "yard/z-last"]


def test_typing_errors_find_what_is_spelt_alike(stock: None) -> None:
    page = Client().get("/models?q=lamma")
    assert [row.model.name for row in page.context["rows"]] == ["yard/llama-3.3-70b"]
    assert "No model matches “lamma”" in page.content.decode()


def test_without_trigrams_search_is_by_whole_words(stock: None) -> None:
    as_owner(
        "CREATE OR REPLACE FUNCTION catalog_likeness(p_word text, p_text text) RETURNS real "
        "LANGUAGE sql STABLE AS 'SELECT 0::real'"
    )
    assert shown("q=lamma") == []


def test_search_follows_what_is_edited(shop: Shop) -> None:
    shop.model.description = "Speaks Klingon."
    shop.model.save()
    assert shown("q=klingon") == ["author/slug"]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("price", ["author/slug", "yard/b", "yard/a", "yard/c"]),
        ("newest", ["yard/c", "yard/b", "yard/a", "author/slug"]),
        ("context", ["yard/b", "yard/a", "yard/c", "author/slug"]),
        ("speed", ["author/slug", "yard/a", "yard/b", "yard/c"]),
        ("throughput", ["author/slug", "yard/a", "yard/b", "yard/c"]),
        ("use", ["author/slug", "yard/a", "yard/b", "yard/c"]),
    ],
)
def test_sorts(shop: Shop, order: str, names: list[str]) -> None:
    add_model("yard/a", second_nano=900_000, context_tokens_max=2_000)
    add_model("yard/b", row_nano=800_000, context_tokens_max=4_000)
    add_model("yard/c", offers=False, context_tokens_max=1_000)
    settled_call(shop, completion_tokens=10)
    figures_compute()
    assert shown(f"sort={order}") == names


def test_the_url_says_it_all_and_nothing_more() -> None:
    query = "q=a+b&task=chat&context=4096&price=0.5&provider=yard&private=1&sort=price&view=table"
    filters = filters_of(QueryDict(f"{query}&kind=&measured=&junk=1&m=a/b&m=a/b&m=no"))
    assert filters.url() == f"?{query}&m=a%2Fb"
    assert filters_of(QueryDict(filters.url()[1:])) == filters
    assert filters.price_max == Decimal("0.5")
    assert filters.canonical == "?" + query.removesuffix("&view=table")
    assert filters_of(QueryDict("")).canonical == ""


def test_each_filter_in_force_can_be_taken_away(stock: None) -> None:
    page = Client().get(
        "/models?q=seer&task=vision&takes=image&provider=dock&price=1&m=author/slug"
    )
    found = dict(page.context["chips"])
    assert list(found) == ["“seer”", "Vision", "Images", "The dock", "Up to $1"]
    assert "task=vision" not in found["Vision"]
    assert "takes=image" in found["Vision"]
    assert all("m=author%2Fslug" in url for url in found.values())


def test_the_address_bar_keeps_in_step_without_empty_fields(shop: Shop) -> None:
    answer = Client().get("/models?q=&task=chat&price=&view=cards", headers={"HX-Request": "true"})
    assert answer.headers["HX-Push-Url"] == "/models?task=chat"
    assert (
        Client().get("/models?q=", headers={"HX-Request": "true"}).headers["HX-Push-Url"]
        == "/models"
    )


def test_models_chosen_to_compare_outlive_the_page_that_shows_them(stock: None) -> None:
    text = Client().get("/models?q=llama&m=dock/seer&m=yard/llama-3.3-70b").content.decode()
    assert '<input type="hidden" name="m" value="dock/seer">' in text
    assert "/compare?m=dock%2Fseer&amp;m=yard%2Fllama-3.3-70b" in text
    full = Client().get("/models?" + "&".join(f"m=x/{i}" for i in range(6)))
    assert full.context["filters"].chosen == ("x/0", "x/1", "x/2", "x/3")
    assert full.content.count(b"disabled") == 4


def test_pages_of_the_catalog_have_an_address_of_their_own(shop: Shop) -> None:
    text = Client().get("/models?task=chat&view=table&m=a/b").content.decode()
    assert 'rel="canonical" href="http://127.0.0.1:8000/models?task=chat"' in text
    assert '<meta name="description"' in text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/models?view=table",
        "/models?q=m&sort=price&price=100&private=1&measured=1",
        "/models?sort=speed",
        "/rankings",
        "/compare?m=author/slug&m=bulk/n1",
        "/models/author/slug?tab=performance",
        "/models/author/slug?tab=activity",
        "/models/author/slug?tab=providers",
        "/models/author/slug?tab=versions",
        "/api/v1/models",
        "/api/v1/models?q=n&sort=use",
        "/api/v1/rankings",
        "/api/v1/estimates?m=author/slug&m=bulk/n1",
    ],
)
def test_a_larger_catalog_costs_no_more_queries(
    shop: Shop,
    path: str,
    django_assert_num_queries: Callable[..., CaptureQueriesContext],
) -> None:
    from marketplace.usage.rankings import rankings_compute
    from marketplace.usage.services import deployment_rollups_compute

    def grow(numbers: range) -> None:
        for i in numbers:
            model = add_model(f"bulk/n{i}", collects_data=False)
            ModelVersion.objects.create(model=shop.model, version=f"v{i}")
            pool = Pool.objects.create(name=f"more-{i}", hardware="CPU", engine="x")
            provider = Provider.objects.create(slug=f"p{i}", name=f"P{i}")
            deployment = Deployment.objects.create(
                version=shop.deployment.version, provider=provider, pool=pool, upstream_model="x"
            )
            Offer.objects.create(deployment=deployment)
            settled_call(shop, deployment_id=deployment.pk)
            settled_call(shop, model=model.name)
        deployment_rollups_compute()
        rankings_compute()
        figures_compute()

    grow(range(2))
    client = Client()
    client.get(path)
    with CaptureQueriesContext(connection) as few:
        assert client.get(path).status_code == 200
    grow(range(2, 12))
    with django_assert_num_queries(len(few)):
        client.get(path)


def test_what_is_dearer_than_it_looks_is_told(shop: Shop) -> None:
    add_model(
        "yard/thinker",
        prompt_nano_per_million=10**9,
        cached_nano_per_million=2 * 10**9,
        completion_nano_per_million=3 * 10**9,
        reasoning_nano_per_million=70 * 10**9,
    )
    page = Client().get("/models/yard/thinker").content.decode()
    assert "$1.00 in · $3.00 out · $2.00 cached · $70.00 reasoning" in page
    compared = Client().get("/compare?m=yard/thinker").content.decode()
    assert "$70.00" in compared


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": {"X": True}},
        {"properties": {"X": {"items": {"prefixItems": 5}}}},
        {"properties": {"X": {"items": {"prefixItems": [True, {"default": "1]]); exit(); #"}]}}}},
    ],
)
def test_a_models_page_and_its_code_stand_any_schema(shop: Shop, schema: object) -> None:
    tensors = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]}
    add_model("yard/odd", task="tabular", input_schema=schema, tensors=tensors)
    page = Client().get("/models/yard/odd?tab=api")
    assert page.status_code == 200
    assert b"exit()" not in page.content
