"""Tests of the worker, most of them inside this process."""
