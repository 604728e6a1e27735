"""Migrations after the baseline let the release before run on, and hold up no calls."""

import pytest
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from tests.architecture.migration_hazards import hazards, sql_hazards

MARKETPLACE = "marketplace."
BASELINES = "0001"
ALLOWED = {
    "agents.0002_agentworker_rank_alter_agentworker_worker_and_more",
    "agents.0003_workertoken_reusable",
    "batches.0002_rows",
    "benchmarks.0002_benchmarks_are_jobs",
    "catalog.0002_worker_reported_at_worker_reported_error",
    "catalog.0003_worker_gang_size_workermember",
    "catalog.0004_pool_workers_max_pool_workers_min_and_more",
    "catalog.0005_pool_start_s",
    "catalog.0006_batch_discount",
    "predictions.0003_pipelines",
    "predictions.0004_stage_by_call",
    "providers.0002_conformance_runs_are_jobs",
}
"""Made before upgrades without a pause were promised. A release that removes what the one before no
longer uses adds its migration here, and says in the changelog from which release on it can follow.
"""


def deltas() -> dict[str, list[str]]:
    """Hazards of each migration after its app's first ones, by ``app.name``."""
    loader = MigrationLoader(None)
    found = {}
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        is_ours = type(migration).__module__.startswith(MARKETPLACE)
        if is_ours and not name.startswith(BASELINES):
            before = loader.project_state((app, name), at_end=False)
            found[f"{app}.{name}"] = list(hazards(migration.operations, before, app))
    return found


def test_migrations_let_the_release_before_run_on() -> None:
    found = {name: texts for name, texts in deltas().items() if texts}
    assert {name: texts for name, texts in found.items() if name not in ALLOWED} == {}
    assert found.keys() >= ALLOWED, "what is not needed any more is taken out"


BEFORE = ProjectState()
BEFORE.add_model(
    ModelState(
        "shop",
        "Thing",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50, null=True)),
        ],
    )
)
NEW = migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))])


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (migrations.RemoveField("thing", "name"), "removes a column"),
        (migrations.RenameField("thing", "name", "title"), "renames a column"),
        (migrations.DeleteModel("Thing"), "removes a table"),
        (migrations.AddField("thing", "size", models.IntegerField(default=0)), "no db_default"),
        (migrations.AddField("thing", "size", models.IntegerField(unique=True, null=True)), "uniq"),
        (migrations.AlterField("thing", "name", models.CharField(max_length=50)), "no longer be"),
        (migrations.AlterField("thing", "name", models.TextField(null=True)), "changes its type"),
        (
            migrations.AlterField("thing", "name", models.CharField(max_length=9, null=True)),
            "gets shorter",
        ),
        (
            migrations.AddIndex("thing", models.Index(fields=["name"], name="by_name")),
            "AddIndexConcurrently",
        ),
        (
            migrations.AddConstraint(
                "thing", models.CheckConstraint(condition=models.Q(id__gt=0), name="positive")
            ),
            "NOT VALID",
        ),
        (migrations.RunPython(migrations.RunPython.noop), "in a job"),
        (migrations.RunSQL("ALTER TABLE shop_thing DROP COLUMN name"), "DROP COLUMN"),
    ],
)
def test_what_breaks_older_code_is_named(operation: Operation, said: str) -> None:
    (found,) = hazards([operation], BEFORE, "shop")
    assert said in found


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("thing", "size", models.IntegerField(null=True)),
        migrations.AddField("thing", "size", models.IntegerField(default=0, db_default=0)),
        migrations.AlterField("thing", "name", models.CharField(max_length=90, null=True)),
        migrations.AddField("other", "size", models.IntegerField(default=0)),
        AddConstraintNotValid(
            "thing", models.CheckConstraint(condition=models.Q(id__gt=0), name="positive")
        ),
        migrations.RunSQL("CREATE OR REPLACE FUNCTION f() RETURNS void AS $$ DROP TABLE x; $$"),
    ],
)
def test_what_older_code_does_not_see_is_free(operation: Operation) -> None:
    assert list(hazards([NEW, operation], BEFORE, "shop")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("CREATE INDEX i ON shop_thing (name)", 1),
        ("CREATE INDEX CONCURRENTLY i ON shop_thing (name)", 0),
        ("CREATE TABLE part (id bigint); CREATE INDEX i ON part (id)", 0),
        ("ALTER TABLE shop_thing ADD CONSTRAINT c CHECK (id > 0) NOT VALID", 0),
        ("ALTER TABLE shop_thing ADD CONSTRAINT c CHECK (id > 0)", 1),
        ("UPDATE shop_thing SET name = ''", 1),
        ("DROP FUNCTION f(); -- DROP TABLE x", 1),
    ],
)
def test_sql_is_looked_at_too(text: str, count: int) -> None:
    assert len(list(sql_hazards(text))) == count
