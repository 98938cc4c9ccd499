"""Jobs as they are in earnest: many at a time, computing, with large arguments, failing."""
