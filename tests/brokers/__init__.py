"""What each broker does beside the contract. The contract itself is in `tests/conformance`."""
