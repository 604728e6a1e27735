"""Jobs: thin tasks that call marketplace services."""
