"""Everything that sets Waypost up and keeps it running."""
