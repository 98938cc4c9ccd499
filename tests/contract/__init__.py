"""Tests of the skeletons that brokers are made of."""
