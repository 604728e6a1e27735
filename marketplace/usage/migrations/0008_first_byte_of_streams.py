"""Count the first bytes of streams alone, in what was called before too."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
WHOLE = (SQL / "rollups.sql").read_text()
BEGIN, END = "CREATE FUNCTION usage_call_of", "CREATE FUNCTION usage_bucket"
BACK = "CREATE OR REPLACE FUNCTION usage_call_of" + WHOLE.partition(BEGIN)[2].partition(END)[0]


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_caller_rollups")]
    operations = [migrations.RunSQL((SQL / "first_byte.sql").read_text(), BACK)]
