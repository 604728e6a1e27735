"""A recorded decision, for the page of its call."""
