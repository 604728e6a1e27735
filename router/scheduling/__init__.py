"""A pure state machine that decides where a request runs, and when.

Events go in (methods of :class:`~router.scheduling.scheduler.Scheduler`), decisions with reasons
come out (:mod:`~router.scheduling.decisions`). There is no I/O, clock or randomness: ``now_s`` is
an argument, so the same code runs in the gateway, in tests and under virtual time.
"""
