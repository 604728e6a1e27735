"""The hardware advisor: the cheapest fleet that meets an SLO, and how sure that is.

A question (:mod:`.question`) and the catalogue's options (:mod:`.catalogue`) go in. A queueing
model (:mod:`.queueing`) says what each count of each option carries, an integer program
(:mod:`.program`) picks the cheapest fleet, and the simulator with the real scheduler checks it
(:mod:`.search`).
"""
