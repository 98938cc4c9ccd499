"""A model of the contract, and random calls that every broker must answer as the model does."""
