"""What of a migration breaks the code that runs while it does, or holds up its calls.

Routers, pages and jobs of the release before go on over the new tables until they are replaced. So
a release adds what the next may need (a column with a default of the database's own), and only the
one after removes what nobody reads any more.
"""

import re
from collections.abc import Iterator

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently
from django.db import migrations
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field, ManyToManyField

GONE = {
    migrations.RemoveField: "removes a column",
    migrations.RenameField: "renames a column",
    migrations.DeleteModel: "removes a table",
    migrations.RenameModel: "renames a table",
    migrations.AlterModelTable: "renames a table",
}
IN_SQL = (
    (r"\bDROP\s+(TABLE|COLUMN|FUNCTION|TYPE|VIEW)\b", "removes what older code may use"),
    (r"\bRENAME\s+(TO|COLUMN)\b", "renames what older code may use"),
    (r"\bSET\s+NOT\s+NULL\b", "refuses rows of older code, and reads the whole table"),
    (r"\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b", "rewrites a table under a lock"),
    (
        r"\bCREATE\s+(UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY)",
        "blocks writers: CREATE INDEX CONCURRENTLY",
    ),
    (r"\bADD\s+CONSTRAINT\b(?![^;]*\bNOT\s+VALID\b)", "reads a table under a lock: NOT VALID"),
    (r"^\s*(UPDATE|DELETE\s+FROM)\b", "changes rows in one transaction: do it in a job"),
)
"""Of statements between functions; what functions do when they are called is no migration's."""
_BODIES = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_COMMENTS = re.compile(r"--[^\n]*")


def hazards(operations: list[Operation], before: ProjectState, app: str) -> Iterator[str]:
    """Texts, one for each hazard; ``before`` is the state of the tables that these find."""
    made: set[str] = set()
    for operation in operations:
        if isinstance(operation, migrations.CreateModel):
            made.add(operation.name.lower())
        elif isinstance(operation, migrations.SeparateDatabaseAndState):
            yield from hazards(operation.database_operations, before, app)
        elif isinstance(operation, migrations.RunSQL):
            yield from sql_hazards(str(operation.sql))
        else:
            # On a table of this migration nobody waits, and no older code writes to it.
            model = str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()
            if model not in made:
                yield from (f"{model}: {text}" for text in _of_table(operation, before, app, model))


def sql_hazards(text: str) -> Iterator[str]:
    """The same of SQL. A table that this text makes is nobody's yet."""
    statements = _COMMENTS.sub("", _BODIES.sub("", text))
    made = re.findall(r"\bCREATE\s+TABLE\s+(\w+)", statements)
    for statement in statements.split(";"):
        if any(re.search(rf"\b{name}\b", statement) for name in made):
            continue
        for pattern, why in IN_SQL:
            if found := re.search(pattern, statement, re.IGNORECASE | re.MULTILINE):
                yield f"{' '.join(found.group().split())}: {why}"


def _of_table(operation: Operation, before: ProjectState, app: str, model: str) -> Iterator[str]:
    if (why := GONE.get(type(operation))) is not None:
        yield why
    elif isinstance(operation, migrations.AddField):
        yield from _added(operation.name, operation.field)
    elif isinstance(operation, migrations.AlterField):
        was = before.models[app, model].fields[operation.name]
        yield from _altered(operation.name, was, operation.field)
    elif isinstance(operation, migrations.AddConstraint) and not isinstance(
        operation, AddConstraintNotValid
    ):
        yield f"constraint {operation.constraint.name} reads the table under a lock: NOT VALID"
    elif isinstance(operation, migrations.AddIndex) and not isinstance(
        operation, AddIndexConcurrently
    ):
        yield f"index {operation.index.name} blocks writers: AddIndexConcurrently"
    elif isinstance(operation, migrations.RunPython):
        yield "changes rows in one transaction: do it in a job"


def _added(name: str, field: Field) -> Iterator[str]:
    if isinstance(field, ManyToManyField):
        return
    if not field.null and field.db_default is NOT_PROVIDED:
        yield f"{name} has no db_default: older code inserts rows without it"
    if field.unique:
        yield f"{name} is unique: its index blocks writers"


def _altered(name: str, was: Field, field: Field) -> Iterator[str]:
    if was.null and not field.null:
        yield f"{name} may no longer be null: older code may leave it out"
    # A OneToOneField is a ForeignKey with an index that is unique.
    if not issubclass(type(was), type(field)):
        yield f"{name} changes its type"
    shorter = (field.max_length or 0) < (was.max_length or 0)
    if shorter and field.max_length is not None:
        yield f"{name} gets shorter: older code may write more"
    if field.unique and not was.unique:
        yield f"{name} becomes unique: its index blocks writers"
