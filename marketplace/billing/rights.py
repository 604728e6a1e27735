"""The rights of the services' PostgreSQL roles: all on most tables, few on the ledger's.

The owner of the tables runs migrations, and the ledger's functions run as the owner (``SECURITY
DEFINER``, in ``ledger/``). Pages and jobs use another role. It may call those functions, but may
not otherwise move money or delete causes. If both are the same role, only the ledger's triggers
protect the books, and `weaknesses` says so. Routers may have a role of their own, which can take
leases and settle calls, and reads no more than that needs: neither people nor secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.backends.utils import CursorWrapper

READ = "SELECT"
ADD = "SELECT, INSERT"
KEEP = "SELECT, INSERT, UPDATE"
ALL = "SELECT, INSERT, UPDATE, DELETE"

BOOKS = {
    "billing_transfer": READ,
    "billing_lease": READ,
    "usage_event": READ,
    "usage_rollup": READ,
    "usage_caller_rollup": READ,
    "usage_detachment": READ,
    "billing_seal": READ,
    "billing_sealedsum": READ,
    # Triggers ensure that an account begins empty, and a budget unspent.
    "billing_account": ADD,
    "billing_budget": "SELECT, INSERT, DELETE",
    # Causes of transfers, and reports: written once.
    "billing_paymenttransfer": ADD,
    "billing_stafftransfer": ADD,
    "billing_systemorder": ADD,
    "billing_trialgrant": f"{ADD}, UPDATE (founder_id)",
    "billing_statement": ADD,
    "billing_writeoff": ADD,
    "billing_reconciliationreport": ADD,
    "billing_stripeevent": f"{ADD}, UPDATE (verdict)",
    "catalog_offer": ADD,
    "support_look": ADD,
    "audit_auditentry": ADD,
    # Their state changes, and they stay.
    "billing_payment": KEEP,
    "billing_refund": KEEP,
    "billing_dispute": KEEP,
    "billing_creditrequest": KEEP,
    # Only the owner migrates.
    "django_migrations": READ,
}
"""The services' rights by table; ``ALL`` on every other table."""
OF_ROUTERS = {
    "billing_account": READ,
    "billing_budget": READ,
    "billing_lease": READ,
    "usage_event": READ,
    "usage_rollup": READ,
    "routing_snapshot": READ,
    "usage_refusal": KEEP,
    "routing_router": ALL,
    "routing_slot_lease": ALL,
    "routing_idempotency": ALL,
    "routing_response": "SELECT, INSERT, DELETE",
}
"""The routers' rights by table; none on any other."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights by table, those on tables that are not named, and which functions of the owner."""

    tables: Mapping[str, str]
    otherwise: str
    functions: frozenset[str] | None
    """None for all that run as the owner."""


SERVICES = Rights(BOOKS, ALL, None)
ROUTERS = Rights(
    OF_ROUTERS,
    "",
    frozenset(
        {
            "billing_lease_take",
            "billing_lease_grow",
            "billing_lease_extend",
            "billing_lease_shrink",
            "billing_lease_close",
            "billing_settle",
        }
    ),
)

ROUTERS_ROLE = "waypost_routers"
"""Where the settings name no other, and only if it exists."""

_TABLES = """
SELECT relname, relispartition FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
"""
_DEFINERS = """
SELECT oid::regprocedure::text, proname FROM pg_proc
WHERE prosecdef AND pronamespace = current_schema()::regnamespace
"""
_WEAKNESSES = """
SELECT r.rolsuper, r.rolcreaterole, o.rolname, pg_has_role(r.oid, o.oid, 'MEMBER'),
       has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER'),
       has_schema_privilege(r.oid, c.relnamespace, 'CREATE')
FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner, pg_roles r
WHERE c.oid = to_regclass('billing_transfer') AND r.rolname = %s
"""


def rights_give(cursor: CursorWrapper, role: str, rights: Rights = SERVICES) -> bool:
    """Give ``role`` these rights, and no more; False if it does not exist. Safe to repeat.

    For the owner. Does nothing if ``role`` is the owner itself.
    """
    cursor.execute(
        "SELECT rolname = current_user OR rolsuper FROM pg_roles WHERE rolname = %s", [role]
    )
    row = cursor.fetchone()
    if row is None or row[0]:
        return row is not None
    to = _quoted(role)
    cursor.execute("SELECT current_schema()")
    ((schema,),) = cursor.fetchall()
    schema = _quoted(schema)
    cursor.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
    cursor.execute(f"REVOKE ALL ON SCHEMA {schema} FROM {to}")
    cursor.execute(f"GRANT USAGE ON SCHEMA {schema} TO {to}")
    cursor.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {to}")
    if rights.otherwise:
        cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {to}")
    cursor.execute(_TABLES)
    for table, is_partition in cursor.fetchall():
        given = rights.tables.get(table, rights.otherwise)
        # Writes to a partition go through its parent table.
        if is_partition:
            given = READ if rights.otherwise else ""
        if given:
            cursor.execute(f"GRANT {given} ON {_quoted(table)} TO {to}")
    cursor.execute(_DEFINERS)
    for function, name in cursor.fetchall():
        cursor.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC, {to}")
        if rights.functions is None or name in rights.functions:
            cursor.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {to}")
    return True


def weaknesses(cursor: CursorWrapper, role: str) -> list[str]:
    """Texts that say how ``role`` could bypass the ledger's functions; [] if it cannot.

    Also [] if the ledger's tables do not exist yet.
    """
    cursor.execute(_WEAKNESSES, [role])
    row = cursor.fetchone()
    if row is None:
        return []
    is_superuser, makes_roles, owner, is_member, writes, creates = row
    if role == owner:
        return [f"the services' role {role} owns the books"]
    found = [
        (is_superuser, f"the services' role {role} is a superuser"),
        (makes_roles, f"the services' role {role} may make roles"),
        (is_member, f"the services' role {role} is a member of {owner}, who owns the books"),
        (writes, f"the services' role {role} may write billing_transfer"),
        (creates, f"the services' role {role} may make functions beside the ledger's"),
    ]
    return [words for is_so, words in found if is_so]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
