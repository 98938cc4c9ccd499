"""Real workers and servers that are killed, frozen, cut off and filled while jobs run."""
