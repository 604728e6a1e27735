"""The services' role may not write the books past the ledger's functions, whatever SQL it runs."""

from collections.abc import Iterator

import psycopg
import pytest
from django.core.checks import Tags, run_checks
from django.core.management.base import CommandError
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from marketplace.billing.apps import _give_rights
from marketplace.billing.models import AccountKind
from marketplace.billing.rights import BOOKS, OF_ROUTERS, READ, rights_give, weaknesses
from tests.databases import ROLE, as_routers, named
from tests.integration.marketplace.ledger import call
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db

NOBODY = "nobody_of_this_name"
VERBS = {
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {} CASCADE",
}


def refused() -> list[tuple[str, str]]:
    """Each table of the books with each verb that nobody but its owner has."""
    return [
        (table, verb)
        for table, rights in BOOKS.items()
        for verb in VERBS
        if verb not in rights.replace("UPDATE (", "(")
    ]


def columns(table: str) -> list[str]:
    return [
        name
        for (name,) in call(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped",
            table,
        )
    ]


@pytest.mark.parametrize(("table", "verb"), refused())
def test_what_money_stands_on_is_not_written_by_hand(table: str, verb: str) -> None:
    column = f'"{columns(table)[0]}"'
    statement = VERBS[verb].format(table, table=table, column=column)
    with pytest.raises(DatabaseError, match=f"permission denied for table {table}"):
        call(statement)


def test_the_books_are_all_tables_of_billing_but_those_that_hold_no_money() -> None:
    tables = {name for name in connection.introspection.table_names() if "billing_" in name}
    assert tables - set(BOOKS) == {"billing_paymentprofile", "billing_autorecharge"}
    assert {table for table in BOOKS if "SELECT" not in BOOKS[table]} == set()


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table, column)
        for table, column in (
            ("billing_account", "posted_nano"),
            ("billing_account", "overdraft"),
            ("billing_budget", "spent_nano"),
            ("billing_budget", "limit_nano"),
            ("billing_stripeevent", "kind"),
            ("billing_trialgrant", "organisation_id"),
        )
    ],
)
def test_a_column_that_is_not_theirs_stays(table: str, column: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"):
        call(f"UPDATE {table} SET {column} = {column}")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SET ROLE waypost", "permission denied to set role"),
        ("SET SESSION AUTHORIZATION waypost", "permission denied"),
        ("SET session_replication_role = replica", "permission denied to set parameter"),
        ("DROP TRIGGER billing_transfer_writer ON billing_transfer", "must be owner"),
        ("ALTER TABLE billing_transfer DISABLE TRIGGER ALL", "must be owner"),
        ("DROP FUNCTION billing_settle(jsonb)", "must be owner"),
        ("ALTER FUNCTION billing_ledger_is_open() RENAME TO other", "must be owner"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "permission denied"),
        (
            "CREATE OR REPLACE FUNCTION billing_ledger_is_open() RETURNS boolean LANGUAGE sql"
            " STABLE AS 'SELECT true'",
            "permission denied",
        ),
        ("CREATE TABLE t (i int)", "permission denied"),
        ("ALTER TABLE usage_event DETACH PARTITION usage_event_default", "must be owner"),
        ("INSERT INTO usage_event_default DEFAULT VALUES", "permission denied"),
        ("CREATE ROLE somebody SUPERUSER", "permission denied"),
    ],
)
def test_nobody_lets_themselves_in(statement: str, found: str) -> None:
    owner = call("SELECT tableowner FROM pg_tables WHERE tablename = 'billing_transfer'")[0][0]
    statement = statement.replace("waypost", owner) if "ROLE w" in statement else statement
    with pytest.raises(DatabaseError, match=found):
        call(statement)


@pytest.mark.parametrize("switch", ["on", "off"])
def test_the_ledgers_switch_opens_nothing(shop: Shop, switch: str) -> None:
    call("SELECT set_config('waypost.ledger', %s, true)", switch)
    for statement in (
        "INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind)"
        " SELECT min(id), max(id), 1, 'x', 'grant' FROM billing_account",
        "UPDATE billing_account SET posted_nano = 1",
        "UPDATE billing_lease SET state = 'closed'",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            call(statement)


def test_a_table_of_the_callers_own_does_not_stand_in_for_the_ledgers(shop: Shop) -> None:
    """The functions run as the owner: names in them must mean the ledger's."""
    call("CREATE TEMP TABLE billing_account (LIKE public.billing_account INCLUDING ALL)")
    call("CREATE TEMP TABLE billing_transfer (LIKE public.billing_transfer INCLUDING ALL)")
    account = call("SELECT id FROM public.billing_account WHERE kind = 'customer'")[0][0]
    grants = call("SELECT id FROM public.billing_account WHERE kind = 'grants'")[0][0]
    call("SELECT billing_transfer_post(%s, %s, 7, 'k', 'grant')", grants, account)
    assert call("SELECT amount_nano FROM public.billing_transfer WHERE idem_key = 'k'") == [(7,)]
    assert call("SELECT count(*) FROM pg_temp.billing_transfer") == [(0,)]


def test_every_writer_that_runs_as_the_owner_has_its_search_path_fixed() -> None:
    writers = call(
        "SELECT proname, proconfig::text, has_function_privilege('public', oid, 'EXECUTE')"
        " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
    )
    assert len(writers) >= 13
    for name, config, everybody in writers:
        assert "search_path=public, pg_temp" in config, name
        assert not everybody, name


def test_only_some_accounts_may_be_opened_with_an_overdraft(shop: Shop) -> None:
    for kind in (AccountKind.CUSTOMER, AccountKind.PROVIDER, AccountKind.COMMISSION):
        with pytest.raises(DatabaseError, match="overdraft_fits_kind"), transaction.atomic():
            call(
                "INSERT INTO billing_account (kind, currency, overdraft) VALUES (%s, 'USD', true)",
                str(kind),
            )


def test_a_protected_book_has_no_weakness_and_each_is_named(postgres_url: str) -> None:
    with connection.cursor() as cursor:
        assert weaknesses(cursor, ROLE) == []
        owner = psycopg.conninfo.conninfo_to_dict(postgres_url)["user"]
        assert weaknesses(cursor, str(owner)) == [f"the services' role {owner} owns the books"]
        assert weaknesses(cursor, NOBODY) == []
        # It is not the owner's to give itself more.
        rights_give(cursor, str(owner))
    with override_settings(SERVICES_ROLE=ROLE):
        assert run_checks(tags=[Tags.database], databases=["default"]) == []
    with override_settings(SERVICES_ROLE=owner):
        (warned,) = run_checks(tags=[Tags.database], databases=["default"])
    assert warned.id == "billing.W001"
    assert "owns the books" in warned.msg


@pytest.mark.parametrize("name", ["SERVICES_ROLE", "WAYPOST_ROUTERS_ROLE"])
def test_migrate_fails_where_a_role_that_is_named_has_to_be_made_yet(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = {"SERVICES_ROLE": ROLE, "WAYPOST_ROUTERS_ROLE": ROLE, name: NOBODY}
    with override_settings(**roles), pytest.raises(CommandError, match=f"no role {NOBODY}"):
        _give_rights()
    monkeypatch.setattr("marketplace.billing.rights.ROUTERS_ROLE", NOBODY)
    with override_settings(SERVICES_ROLE=ROLE, WAYPOST_ROUTERS_ROLE=""):
        _give_rights()


def test_roles_that_could_write_are_named(by_admin: psycopg.Connection) -> None:
    made = [
        ("t_super", "SUPERUSER", "is a superuser"),
        ("t_maker", "CREATEROLE", "may make roles"),
        ("t_member", "IN ROLE {owner}", "is a member of"),
    ]
    ((owner,),) = by_admin.execute(
        "SELECT tableowner FROM pg_tables WHERE tablename = 'billing_transfer'"
    ).fetchall()
    with by_admin.cursor() as cursor:
        for role, how, found in made:
            cursor.execute(f"CREATE ROLE {role} {how.format(owner=owner)}")  # type: ignore[arg-type]
            assert any(found in words for words in weaknesses(cursor, role)), role  # type: ignore[arg-type]
        cursor.execute("CREATE ROLE t_writer")
        assert weaknesses(cursor, "t_writer") == []  # type: ignore[arg-type]
        cursor.execute("GRANT UPDATE ON billing_transfer TO t_writer")
        (found,) = weaknesses(cursor, "t_writer")  # type: ignore[arg-type]
        assert "may write billing_transfer" in found
    by_admin.rollback()


# --- routers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT billing_transfer_post(1, 2, 7, 'k', 'grant')",
        "SELECT billing_budget_change(1, 7, 'month')",
        "INSERT INTO billing_stafftransfer DEFAULT VALUES",
        "INSERT INTO billing_systemorder DEFAULT VALUES",
        "INSERT INTO billing_transfer DEFAULT VALUES",
        "UPDATE billing_account SET posted_nano = 1",
        "DELETE FROM usage_event",
        "INSERT INTO routing_snapshot DEFAULT VALUES",
        "SELECT * FROM accounts_user",
        "SELECT * FROM accounts_apikey",
        "SELECT * FROM mfa_authenticator",
        "SELECT * FROM webhooks_webhooksecret",
        "SELECT * FROM django_session",
        "SELECT * FROM audit_auditentry",
        "SET ROLE waypost_tests",
    ],
)
def test_a_routers_role_can_do_no_more_than_a_router_must(
    by_router: psycopg.Connection, statement: str
) -> None:
    """What it must be able to do, every test of a real router shows: they come as it."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        by_router.execute(statement)  # type: ignore[call-overload]


def test_a_routers_role_writes_its_own_tables_only(by_router: psycopg.Connection) -> None:
    writable = by_router.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE')"
    ).fetchall()
    assert {name for (name,) in writable} == {
        name for name, rights in OF_ROUTERS.items() if rights != READ
    }


@pytest.fixture
def by_router(django_db_setup: None, postgres_url: str) -> Iterator[psycopg.Connection]:
    """A session as routers have it."""
    url = named(as_routers(postgres_url), connection.settings_dict["NAME"])
    with psycopg.connect(url) as opened:
        yield opened
        opened.rollback()
