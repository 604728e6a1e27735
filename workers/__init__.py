"""Jobs (Celery) and the inference backends."""
