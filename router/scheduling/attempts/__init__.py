"""How attempts begin and end: a first one, a hedge, a probe."""
