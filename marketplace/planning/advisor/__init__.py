"""The hardware advisor: the cheapest fleet that meets an SLO, and how sure that is.

A question (:mod:`.question`) and the catalogue's options (``options/``) go in. A queueing model
(:mod:`.fleets.queueing`) says what each count of each option carries, an integer program
(:mod:`.fleets.program`) picks the cheapest fleet, and the simulator with the real scheduler checks
it (:mod:`.fleets.search`).
"""
