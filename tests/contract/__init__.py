"""Tests of what brokers are made with."""
