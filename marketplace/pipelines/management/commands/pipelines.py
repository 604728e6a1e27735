"""``manage.py pipelines apply|list|withdraw``: models made of models, defined by a file."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace.accounts.models import Organisation
from marketplace.pipelines.definition import DefinitionInvalid
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.services import pipeline_apply, pipeline_withdraw


class Command(BaseCommand):
    help = "Define, list and take back pipelines."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        apply = verbs.add_parser("apply", help="define one, or its next version")
        apply.add_argument("file", type=Path, help="the definition (JSON)")
        apply.add_argument("--org", default="", help="the slug of whose it is; else everybody's")
        verbs.add_parser("list", help="list them, each in its last version")
        withdraw = verbs.add_parser("withdraw", help="take one back")
        withdraw.add_argument("name")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        {"apply": self._apply, "list": self._list, "withdraw": self._withdraw}[verb](options)

    def _apply(self, options: dict[str, Any]) -> None:
        try:
            pipeline, is_new = pipeline_apply(
                text=options["file"].read_bytes(), organisation=_organisation(options["org"])
            )
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        except DefinitionInvalid as error:
            raise CommandError(f"{options['file']}: {error}") from error
        said = "is defined" if is_new else "is unchanged"
        self.stdout.write(f"{pipeline.name} {said}, version {pipeline.version}")

    def _list(self, options: dict[str, Any]) -> None:
        for row in Pipeline.objects.order_by("name", "-version").distinct("name"):
            models = " → ".join(stage.model for stage in row.definition.stages)
            state = "" if row.published else "\twithdrawn"
            self.stdout.write(f"{row.name}\tversion {row.version}\t{models}{state}")

    def _withdraw(self, options: dict[str, Any]) -> None:
        if not pipeline_withdraw(name=options["name"]):
            raise CommandError(f"there is no pipeline {options['name']}")
        self.stdout.write(f"{options['name']} is withdrawn; what was asked of it still runs")


def _organisation(slug: str) -> Organisation | None:
    if not slug:
        return None
    found = Organisation.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"no organisation has the slug {slug!r}")
    return found
