"""The pages of batches: who may do what, what they show, and how a file becomes a batch."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.batches.models import Batch, BatchStatus
from marketplace.catalog.models import AIModel, Task
from marketplace.catalog.services import offer_publish
from marketplace.shared.jobs.services import job_run_next
from router.domain.pricing import Price
from tests.integration.marketplace.batches.desk import asked, chat_lines, hello, routed
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture
def member(shop: Shop) -> Client:
    return signed_in(shop.owner)


def upload(client: Client, content: bytes) -> Any:
    file = SimpleUploadedFile("night.jsonl", content)
    return client.post("/batches/upload", {"file": file, "completion_window": "7d"}, follow=True)


def test_a_file_that_is_uploaded_is_a_batch_of_that_person(shop: Shop, member: Client) -> None:
    page = upload(member, chat_lines(2)).content.decode()
    batch = Batch.objects.get()
    assert (batch.endpoint, batch.completion_window) == ("/v1/chat/completions", "7d")
    assert (batch.user_id, batch.key_id, batch.asked_by) == (shop.owner.pk, 0, shop.owner)
    assert batch.public_id in page
    assert 'hx-trigger="every 1s"' in page
    assert batch.public_id in member.get("/batches").content.decode()


def test_the_page_of_a_model_of_tables_leads_to_a_form_that_has_chosen_it(
    shop: Shop, member: Client
) -> None:
    shop.model.task = Task.TABULAR
    shop.model.save()
    name = shop.model.name
    first = AIModel.objects.create(name="a/first", task=Task.TABULAR, published=True)
    assert f'href="/batches?model={name}"' in member.get(f"/models/{name}").content.decode()
    form = member.get("/batches", {"model": name}).content.decode()
    assert f"<option selected>{name}</option>" in form
    assert f"<option>{first.name}</option>" in form


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The submitted file is empty|The file is empty"),
        (b"{}\n", "Batches call"),
        (b"a,b\n", "Batches call"),
    ],
)
def test_a_file_that_is_no_batch_is_said_to_be_none(
    member: Client, content: bytes, said: str
) -> None:
    refused = upload(member, content)
    assert refused.status_code == 422
    assert any(words in refused.text for words in [*said.split("|"), "Choose a file"])
    assert "<option selected>7d</option>" in refused.text
    assert not Batch.objects.exists()


def test_a_page_shows_counts_errors_and_files_and_stands_still_at_the_end(
    shop: Shop, member: Client
) -> None:
    def says(line: str) -> tuple[int, dict[str, Any]]:
        if line == "2":
            return 422, {"error": {"code": "too_long", "message": "The prompt is too long."}}
        return hello(line)

    batch = asked(shop, chat_lines(3))
    with routed(says):
        job_run_next(Batch)
    page = member.get(f"/batches/{batch.public_id}").content.decode()
    assert "hx-trigger" not in page
    for text in ("Completed", "line-2", "too_long", "The prompt is too long."):
        assert text in page
    for kind, count in (("input", 3), ("output", 2), ("errors", 1)):
        response = member.get(f"/batches/{batch.public_id}/{kind}")
        assert len(b"".join(response.streaming_content).splitlines()) == count  # type: ignore[attr-defined]
    assert member.get(f"/batches/{batch.public_id}/nothing").status_code == 404


def test_a_batch_and_its_model_say_what_batches_pay_less(shop: Shop, member: Client) -> None:
    batch = asked(shop, chat_lines(1))
    with routed(hello):
        job_run_next(Batch)
    page = member.get(f"/batches/{batch.public_id}").content.decode()
    assert "<dd>50 % less</dd>" in page
    model = member.get("/models/author/slug?tab=providers").content.decode()
    assert "50 % less in batches" in model
    price = Price(id=0, prompt_nano_per_million=20_000_000)
    offer_publish(deployment=shop.deployment, price=price, batch_discount_bps=0)
    assert " less" not in member.get(f"/batches/{batch.public_id}").content.decode()


def test_a_file_with_errors_is_shown_by_line(shop: Shop, member: Client) -> None:
    batch = asked(shop, chat_lines(1) + b"{\n")
    job_run_next(Batch)
    page = member.get(f"/batches/{batch.public_id}").content.decode()
    assert '<td class="num">2</td><td class="mono">invalid_json_line</td>' in page


def test_a_batch_is_cancelled_once_that_is_confirmed(shop: Shop, member: Client) -> None:
    batch = asked(shop, chat_lines(2))
    path = f"/batches/{batch.public_id}/cancel"
    assert "stay charged" in member.post(path).content.decode()
    batch.refresh_from_db()
    assert batch.status == BatchStatus.VALIDATING
    assert member.post(path, {"confirmed": "1"}).status_code == 302
    batch.refresh_from_db()
    assert batch.status == BatchStatus.CANCELLED


def test_a_viewer_only_looks_and_strangers_see_nothing(shop: Shop) -> None:
    batch = asked(shop, chat_lines(2))
    viewer = User.objects.create_user("viewer@example.com")
    Membership.objects.create(organisation=shop.organisation, user=viewer, role=Role.VIEWER)
    looking = signed_in(viewer)
    page = looking.get(f"/batches/{batch.public_id}")
    assert page.status_code == 200
    assert "/cancel" not in page.content.decode()
    assert upload(looking, chat_lines(1)).status_code == 403
    assert looking.post(f"/batches/{batch.public_id}/cancel").status_code == 403
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    other = signed_in(stranger)
    for path in ("", "/input"):
        assert other.get(f"/batches/{batch.public_id}{path}").status_code == 404
    assert Client().get("/batches").status_code == 302


def test_the_pages_speak_portuguese(shop: Shop, member: Client) -> None:
    asked(shop, chat_lines(2))
    page = member.get("/batches", headers={"Accept-Language": "pt-BR"}).content.decode()
    assert "Lotes" in page
    assert "Validando" in page
