"""Messages that no job process can work on: kept, shown to the platform's staff, and retried."""
