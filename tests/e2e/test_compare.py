"""Comparing models under one's own workload."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.local_stack import LocalStack

BY_ROW, BY_TOKEN = "waypost/fraud-scorer", "emulated/bge-large"


def months(page: Page) -> list[float]:
    """What each offer would cost a month, in dollars."""
    cells = page.locator("#estimates tbody td:nth-child(5)").all_inner_texts()
    found = [re.match(r"\$([\d.,]+)", text) for text in cells]
    return [float(one.group(1).replace(",", "")) for one in found if one]


def cheapest(page: Page) -> Locator:
    return page.locator("#estimates tbody tr", has=page.locator("td:nth-child(5).best"))


def test_sliders_change_the_figures_and_who_is_cheapest(
    page: Page, local_stack: LocalStack
) -> None:
    page.goto(f"{local_stack.web_url}/compare?m={BY_ROW}&m={BY_TOKEN}")
    expect(cheapest(page)).to_contain_text("Fraud scorer")
    before = months(page)

    page.get_by_role("slider", name="Calls per day").fill("1000")
    expect(page).to_have_url(re.compile(r"calls=10000000"))
    expect(page.get_by_role("spinbutton", name="Calls per day")).to_have_value("10000000")
    # A thousand calls a day before, ten million now.
    assert months(page) == pytest.approx([10_000 * item for item in before], rel=0.01)

    page.get_by_role("slider", name="Rows or other units per call").press("End")
    expect(page).to_have_url(re.compile(r"rows=100000"))
    expect(cheapest(page)).to_contain_text("BGE Large")


def test_a_slider_gives_whole_calls(page: Page, local_stack: LocalStack) -> None:
    page.goto(f"{local_stack.web_url}/compare?m={BY_ROW}")
    before = months(page)
    page.get_by_role("slider", name="Calls per day").fill("150")
    expect(page.get_by_role("spinbutton", name="Calls per day")).to_have_value("11")
    expect(page).to_have_url(re.compile(r"calls=11\b"))
    assert months(page) == pytest.approx([11 / 1_000 * item for item in before], rel=0.01)


def test_the_address_has_the_whole_comparison(page: Page, local_stack: LocalStack) -> None:
    page.goto(f"{local_stack.web_url}/compare?m={BY_ROW}&m={BY_TOKEN}")
    page.get_by_role("spinbutton", name="Rows or other units per call").fill("250")
    expect(page).to_have_url(re.compile(r"rows=250"))
    shown = page.locator("#estimates tbody").inner_text()
    page.reload()
    expect(page.get_by_role("spinbutton", name="Rows or other units per call")).to_have_value("250")
    assert page.locator("#estimates tbody").inner_text() == shown
    page.get_by_role("link", name="Remove BGE Large").click()
    expect(page.locator("#estimates tbody")).not_to_contain_text("BGE Large")
    expect(page).to_have_url(re.compile(r"rows=250"))
