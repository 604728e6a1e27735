"""The pages of benchmarks."""

from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from marketplace.benchmarks.models import LOAD_PER_CORE, Benchmark
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture(autouse=True)
def _english_again() -> Any:
    yield
    translation.activate("en")


@pytest.mark.parametrize("path", ["/benchmarks", "/benchmarks/compare", "/benchmarks/{pk}"])
@pytest.mark.parametrize("language", ["en", "pt-br"])
def test_the_pages_are_for_everybody(done: Benchmark, path: str, language: str) -> None:
    page = Client().get(path.format(pk=done.pk), headers={"accept-language": language})
    assert page.status_code == 200
    assert done.model.name in page.content.decode()


def test_only_who_may_finds_the_buttons(done: Benchmark, staff: Client, stranger: Client) -> None:
    url = f"/benchmarks/{done.pk}"
    assert "/repeat" in staff.get(url).content.decode()
    assert "/repeat" not in stranger.get(url).content.decode()
    assert stranger.post(f"{url}/repeat").status_code == 403
    again = staff.post(f"{url}/repeat")
    row = Benchmark.objects.first()
    assert row is not None
    assert again.headers["Location"] == f"/benchmarks/{row.pk}"
    assert row.settings == done.settings
    assert stranger.post(f"/benchmarks/{row.pk}/cancel").status_code == 403
    staff.post(f"/benchmarks/{row.pk}/cancel")
    row.refresh_from_db()
    assert row.state == JobState.CANCELLED


def test_measuring_by_the_form(shop: Shop, staff: Client) -> None:
    form = {"what": str(shop.deployment.pk), "scenario": "server", "loads": "5, 10"}
    answer = staff.post("/benchmarks/create", form)
    row = Benchmark.objects.get()
    assert answer.headers["Location"] == f"/benchmarks/{row.pk}"
    assert (row.scenario, row.settings["loads"]) == ("server", [5, 10])
    assert Benchmark.objects.count() == 1


def test_a_refused_form_keeps_what_was_typed(shop: Shop, staff: Client) -> None:
    form = {"what": str(shop.deployment.pk), "scenario": "server"}
    for loads, said in (("1.2.3", "Loads are numbers"), ("many", "Enter a valid value")):
        refused = staff.post("/benchmarks/create", {**form, "loads": loads})
        assert refused.status_code == 422
        assert said in refused.text
        assert f'value="{loads}"' in refused.text
        assert '<option value="server" selected>' in refused.text
        assert f'<option value="{shop.deployment.pk}" selected>' in refused.text
        # Its filters and its polling are of the list, not of the address that was posted to.
        assert 'action="/benchmarks"' in refused.text
        assert 'hx-get="/benchmarks/create"' not in refused.text
    assert not Benchmark.objects.exists()


def test_what_runs_is_polled_and_what_is_over_is_not(done: Benchmark, staff: Client) -> None:
    assert "hx-trigger" not in staff.get(f"/benchmarks/{done.pk}").content.decode()
    Benchmark.objects.filter(pk=done.pk).update(state=JobState.RUNNING, stage="measuring|4|120")
    page = staff.get(f"/benchmarks/{done.pk}").content.decode()
    assert "every 1s" in page
    assert "load 4: measuring, 120 samples" in page


def test_emulated_figures_say_so(done: Benchmark) -> None:
    assert "badge-signal" not in Client().get(f"/benchmarks/{done.pk}").content.decode()
    Benchmark.objects.filter(pk=done.pk).update(emulated=True)
    for path in (f"/benchmarks/{done.pk}", "/benchmarks"):
        assert "emulated" in Client().get(path).content.decode()


@pytest.mark.parametrize(("load", "is_noisy"), [(0.4, False), (9.5, True)])
def test_figures_of_a_busy_machine_are_not_called_valid(
    done: Benchmark, staff: Client, load: float, is_noisy: bool
) -> None:
    done.fingerprint |= {LOAD_PER_CORE: load}
    done.save()
    page = staff.get(f"/benchmarks/{done.pk}").content.decode()
    compared = staff.get("/benchmarks/compare").content.decode()
    assert (">valid<" in page, ">noisy<" in page) == (not is_noisy, is_noisy)
    assert (">noisy<" in compared) == is_noisy
