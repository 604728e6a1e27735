"""What only one router may have."""


class Taken(Exception):
    """Another router has what only one may have. The message says what, and what would be right."""
