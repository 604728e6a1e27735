"""Load by MLPerf's LoadGen: what is sent, by which client, and one test in its own process."""
