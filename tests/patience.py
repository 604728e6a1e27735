"""How long tests wait for what must happen, however busy the machine is.

It bounds waiting for ever, not how soon something is: where all is well nobody waits that long.
What is promised within a time has a bound of its own.
"""

PATIENCE_S = 300.0
