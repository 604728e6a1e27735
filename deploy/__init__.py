"""Everything that sets Switchyard up and keeps it running."""
