"""Load by MLPerf's LoadGen: what is sent, by which client, and one test in a process of its own."""
