"""Which request or job a line of the log, and a span of a trace, belong to."""
