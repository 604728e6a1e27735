from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("batches", "0004_idempotency_key")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # What an interrupted one left is not valid.
                        "DROP INDEX CONCURRENTLY IF EXISTS batch_idempotency_key_unique",
                        "CREATE UNIQUE INDEX CONCURRENTLY batch_idempotency_key_unique "
                        "ON batches_batch (organisation_id, key_id, user_id, idempotency_key) "
                        "WHERE NOT idempotency_key = ''",
                    ]
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="batch",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("idempotency_key", ""), _negated=True),
                        fields=("organisation", "key_id", "user_id", "idempotency_key"),
                        name="batch_idempotency_key_unique",
                    ),
                )
            ],
        )
    ]
