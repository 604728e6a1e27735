"""The line that every call goes through, one file a step; ``gateway`` is the whole."""
