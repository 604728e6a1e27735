"""Getting an answer: the wait for a place, the calls to workers, the second one of a late call."""
