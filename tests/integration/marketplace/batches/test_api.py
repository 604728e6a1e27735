"""``/v1/files`` and ``/v1/batches`` over HTTP: whose they are, their pages, and what is refused."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.batches.files import services as file_services
from marketplace.batches.files.services import files_expire
from marketplace.batches.models import Batch, BatchStatus, File
from marketplace.inference.callers import Caller
from marketplace.inference.idempotency import LOCK_SPACE, key_number
from tests.integration.marketplace.batches.desk import CHAT, chat_lines, uploaded
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")
CONTENT = chat_lines(3)


@pytest.fixture
def client(shop: Shop) -> Client:
    return client_of(shop.organisation, shop.owner)


def client_of(organisation: Any, owner: Any, **wishes: Any) -> Client:
    _, key = api_key_create(organisation=organisation, name="api", created_by=owner, **wishes)
    return Client(headers={"authorization": f"Bearer {key}"})


def upload(client: Client, content: bytes = CONTENT, **fields: Any) -> Any:
    file = SimpleUploadedFile("../night.jsonl", content)
    return client.post("/v1/files", {"purpose": "batch", "file": file, **fields})


def create(client: Client, key: str = "", **wishes: Any) -> Any:
    body = {"endpoint": CHAT, "completion_window": "24h", **wishes}
    headers = {"idempotency-key": key} if key else {}
    return client.post("/v1/batches", body, content_type="application/json", headers=headers)


def error(response: Any) -> tuple[int, str, str | None]:
    found = response.json()["error"]
    return response.status_code, found["code"], found["param"]


def test_a_file_is_kept_shown_read_and_deleted(client: Client, files_folder: Path) -> None:
    made = upload(client).json()
    assert (made["object"], made["bytes"], made["purpose"]) == ("file", len(CONTENT), "batch")
    assert (made["filename"], made["status"]) == ("night.jsonl", "processed")
    assert made["expires_at"] - made["created_at"] == 30 * 86_400
    path = f"/v1/files/{made['id']}"
    assert client.get(path).json() == made
    # As OpenAI's client asks for it.
    content = client.get(f"{path}/content", headers={"accept": "application/binary"})
    assert b"".join(content.streaming_content) == CONTENT  # type: ignore[attr-defined]
    assert content.headers["Content-Disposition"] == 'attachment; filename="night.jsonl"'
    assert content.headers["Cache-Control"] == "no-store"
    gone = client.delete(path)
    assert gone.json() == {"id": made["id"], "object": "file", "deleted": True}
    assert error(client.get(path))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        (b"", {}, (422, "empty_file", "file")),
        (CONTENT, {"purpose": "fine-tune"}, (422, "invalid_request", "purpose")),
        (CONTENT, {"file": "no file"}, (422, "invalid_request", "file")),
    ],
)
def test_what_is_no_input_of_a_batch_is_refused(
    client: Client, content: bytes, fields: dict[str, Any], expected: Any
) -> None:
    assert error(upload(client, content, **fields)) == expected
    assert not File.objects.exists()


def test_a_file_that_is_too_large_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_services, "FILE_BYTES_MAX", len(CONTENT) - 1)
    assert error(upload(client)) == (413, "file_too_large", "file")


def test_an_organisation_has_a_quota(client: Client, settings: Any) -> None:
    settings.WAYPOST_FILES_BYTES_MAX = len(CONTENT) + 1
    assert upload(client).status_code == 200
    assert error(upload(client)) == (413, "files_quota_exceeded", "file")


def test_files_come_in_pages(client: Client, shop: Shop) -> None:
    ids = [uploaded(shop, CONTENT).public_id for _ in range(3)]
    File.objects.filter(public_id=ids[1]).update(purpose="batch_output")

    def listed(query: str) -> tuple[list[str], bool]:
        page = client.get(f"/v1/files?{query}").json()
        return [row["id"] for row in page["data"]], page["has_more"]

    assert listed("") == (ids[::-1], False)
    assert listed("limit=2") == ([ids[2], ids[1]], True)
    assert listed(f"limit=2&after={ids[1]}") == ([ids[0]], False)
    assert listed("order=asc&limit=1") == ([ids[0]], True)
    assert listed("purpose=batch_output") == ([ids[1]], False)
    assert error(client.get("/v1/files?after=file-none")) == (422, "invalid_request", "after")
    assert client.get("/v1/files?limit=0").status_code == 422


def test_a_batch_has_openais_shape(client: Client) -> None:
    file = upload(client).json()
    made = create(client, input_file_id=file["id"], metadata={"night": "1"})
    assert made.status_code == 200
    batch = made.json()
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (batch["input_file_id"], batch["metadata"]) == (file["id"], {"night": "1"})
    assert batch["expires_at"] - batch["created_at"] == pytest.approx(86_400, abs=2)
    assert client.get(f"/v1/batches/{batch['id']}").json() == batch
    assert client.get("/v1/batches?limit=1").json()["data"] == [batch]
    cancelled = client.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    again = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_a_batch_that_makes_no_sense_says_which_field(client: Client) -> None:
    assert error(create(client, input_file_id="file-none")) == (
        422,
        "file_not_found",
        "input_file_id",
    )
    assert error(create(client))[::2] == (422, "input_file_id")
    file = upload(client).json()["id"]
    assert error(create(client, input_file_id=file, endpoint="/v1/models"))[1:] == (
        "invalid_endpoint",
        "endpoint",
    )


def test_the_same_request_under_one_key_is_one_batch(client: Client, shop: Shop) -> None:
    file, another = upload(client).json()["id"], upload(client).json()["id"]
    first, again = (create(client, "k", input_file_id=file) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["id"] == again.json()["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = create(client, "k", input_file_id=another)
    assert error(other) == (422, "idempotency_mismatch", "Idempotency-Key")
    assert error(create(client, "k" * 256, input_file_id=file))[2] == "Idempotency-Key"
    assert Batch.objects.count() == 1
    # A key is its caller's own, and for a day. Without one, each request is a batch.
    create(client_of(shop.organisation, shop.owner), "k", input_file_id=file)
    Batch.objects.update(created_at=timezone.now() - timedelta(hours=25))
    create(client, "k", input_file_id=another)
    for _ in range(2):
        create(client, input_file_id=file)
    assert Batch.objects.count() == 5


def test_while_the_first_is_being_taken_the_second_is_told_to_wait(
    client: Client, shop: Shop, by_admin: psycopg.Connection
) -> None:
    file = upload(client).json()["id"]
    row = shop.organisation.api_keys.get(name="api")
    caller = Caller(shop.organisation.pk, shop.customer_account.pk, key_id=row.pk)
    lock = [LOCK_SPACE, key_number(Batch, caller, "k")]
    by_admin.execute("SELECT pg_advisory_lock(%s, %s)", lock)
    refused = create(client, "k", input_file_id=file)
    assert error(refused)[:2] == (409, "idempotency_in_flight")
    assert int(refused.headers["Retry-After"]) >= 1
    by_admin.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    assert create(client, "k", input_file_id=file).status_code == 200


def test_the_input_of_an_open_batch_is_not_deleted_and_does_not_expire(
    client: Client, files_folder: Path, django_capture_on_commit_callbacks: Any
) -> None:
    file = upload(client).json()["id"]
    batch = create(client, input_file_id=file).json()["id"]
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error(client.delete(f"/v1/files/{file}"))[:2] == (409, "file_in_use")
    assert files_expire() == 0
    Batch.objects.update(status=BatchStatus.COMPLETED)
    with django_capture_on_commit_callbacks(execute=True):
        assert files_expire() == 1
    assert not [path for path in files_folder.rglob("*") if path.is_file()]
    assert client.get(f"/v1/batches/{batch}").json()["input_file_id"] == file


def test_nobody_sees_anothers_files_and_batches(client: Client, shop: Shop) -> None:
    file = upload(client).json()["id"]
    batch = create(client, input_file_id=file).json()["id"]
    other = client_of(organisation_create(name="Other", slug="other", owner=shop.owner), shop.owner)
    for path in (f"/v1/files/{file}", f"/v1/files/{file}/content", f"/v1/batches/{batch}"):
        assert other.get(path).status_code == 404
    assert other.delete(f"/v1/files/{file}").status_code == 404
    assert other.post(f"/v1/batches/{batch}/cancel").status_code == 404
    assert error(create(other, input_file_id=file))[1] == "file_not_found"
    assert other.get("/v1/files").json()["data"] == other.get("/v1/batches").json()["data"] == []


def test_strangers_are_refused(shop: Shop) -> None:
    for path in ("/v1/files", "/v1/batches"):
        assert error(Client().get(path))[:2] == (401, "invalid_api_key")
