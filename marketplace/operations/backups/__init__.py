"""Backups of the database and customers' files, and their way back."""
