"""What the pages list is all that there is: errors, APIs, policies, outcomes and models."""

import json
import re
from collections.abc import Iterator

from marketplace.config.urls import api as urls_api
from marketplace.demo.offering.emulated import EMULATED_MODELS
from marketplace.demo.offering.pools import POOLS
from marketplace.demo.offering.real import REAL_MODELS
from marketplace.demo.services import PIPELINE
from marketplace.routing.models import PolicyKind
from router.contracts.openai_error import TYPES
from router.domain.errors import CallError
from router.domain.outcome import BILLED, Outcome
from router.ingress.faces.table import FACES
from router.scheduling.policies import POLICIES
from tests.architecture import pages
from tests.architecture.pages import DOCS, REFERENCE
from workers.backends.emulator import fleet

MODEL_NAME = re.compile(
    r"(?<![\w./])(?:hironsan|huggingfacetb|waypost|wordllama|emulated)/[a-z0-9][a-z0-9.-]+"
)


def error_classes(base: type[CallError] = CallError) -> Iterator[type[CallError]]:
    """The whole tree below ``CallError``."""
    for error in base.__subclasses__():
        if error.__module__.startswith("router."):
            yield error
            yield from error_classes(error)


def test_every_error_is_documented_with_its_status_code_and_type() -> None:
    documented = {
        (status, *(pages.code(cell)[0] for cell in cells))
        for status, *cells, _ in pages.rows(REFERENCE / "errors.md")
    }
    assert documented == {
        (str(error.status), error.code, TYPES[error.status], error.__name__)
        for error in error_classes()
    }


def test_every_face_is_documented() -> None:
    text = (REFERENCE / "http-api.md").read_text()
    assert {path for path in FACES if f"`POST {path}`" in text} == set(FACES)


def test_every_management_resource_is_documented_and_no_other() -> None:
    resources = {prefix for prefix, _, _ in urls_api.router.registry} | {"session-token"}
    documented = {
        name for cell, _ in pages.rows(REFERENCE / "management-api.md") for name in pages.code(cell)
    }
    assert documented == resources


def test_every_policy_is_documented_and_can_be_chosen() -> None:
    documented = {pages.code(name)[0] for name, _ in pages.rows(REFERENCE / "policies.md")}
    assert documented == set(POLICIES) == set(PolicyKind.values)


def test_the_billing_rule_of_every_outcome_is_published() -> None:
    published = {
        Outcome(pages.code(outcome)[0]): billed
        for outcome, _, billed in pages.rows(DOCS / "explanation" / "billing.md")
    }
    assert set(published) == set(Outcome)
    assert {outcome for outcome in Outcome if published[outcome] != "Not billed."} == BILLED


def test_the_docs_name_only_models_that_the_demo_has() -> None:
    known = {model.name for model in (*REAL_MODELS, *EMULATED_MODELS)}
    known.add(json.loads(PIPELINE.read_text())["name"])
    named = {name for page in pages.pages() for name in MODEL_NAME.findall(page.read_text())}
    assert named <= known
    assert {model.name for model in REAL_MODELS} <= named


def test_the_emulated_fleet_is_described_as_it_is() -> None:
    described = {
        (pages.code(pool)[0], hardware, int(chips), int(sequences), int(slots))
        for pool, hardware, chips, sequences, slots in (
            row for row in pages.rows(DOCS / "explanation" / "emulation.md") if len(row) == 5
        )
    }
    emulated = {(p.name, p.hardware.name, p.chips, p.sequences, p.slots) for p in fleet.POOLS}
    assert described == emulated
    assert {name for name, *_ in emulated} == {pool.name for pool in POOLS if pool.emulated}
