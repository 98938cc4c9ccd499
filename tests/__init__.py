"""Tests, in folders that mirror the rooms of the package; what they share is in `rigs` and `apps`."""
