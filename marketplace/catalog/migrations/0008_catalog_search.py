"""The catalog's full-text search. The column is read by ``catalog.search`` alone: no model field,
so that whoever loads a model does not load it too."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
DROP = """
DROP FUNCTION catalog_likeness(text, text);
ALTER TABLE catalog_aimodel DROP COLUMN search;
DROP FUNCTION catalog_search_vector(text, text, text, text, text);
"""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0007_admin_drain_reason")]

    operations = [migrations.RunSQL((SQL / "search.sql").read_text(), DROP)]
