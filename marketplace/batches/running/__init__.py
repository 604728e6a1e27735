"""The job of a batch: turn by turn, its items become calls of the router."""
