"""Files and batches in Django's admin, to read."""

from django.contrib import admin

from marketplace.batches.models import Batch, File
from marketplace.shared.admin import ReadOnlyAdmin


@admin.register(File)
class FileAdmin(ReadOnlyAdmin):
    """What is kept, not its bytes."""

    list_display = ["public_id", "filename", "organisation", "purpose", "size_bytes", "created_at"]
    list_select_related = ["organisation"]
    list_filter = ["purpose"]
    search_fields = ["public_id"]


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """How far each is."""

    list_display = ["public_id", "organisation", "endpoint", "status", "total", "created_at"]
    list_select_related = ["organisation"]
    list_filter = ["status"]
    search_fields = ["public_id"]
    raw_id_fields = ["input_file"]
