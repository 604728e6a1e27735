"""Claims of idempotency keys that are renewed, and that only their own call can end."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
UNFENCED = "CREATE FUNCTION routing_idempotency_claim("


def _unfenced() -> str:
    """The function as it was before."""
    told = (SQL / "idempotency.sql").read_text()
    begin = told.index(UNFENCED)
    return told[begin : told.index("CREATE FUNCTION", begin + len(UNFENCED))]


class Migration(migrations.Migration):
    dependencies = [("routing", "0010_proposals_replay")]
    operations = [
        migrations.RunSQL(
            (SQL / "idempotency_token.sql").read_text(),
            "DROP FUNCTION routing_idempotency_claim(text, text, text, text, double precision);"
            "ALTER TABLE routing_idempotency DROP COLUMN token;" + _unfenced(),
        )
    ]
