"""Integrations with other frameworks, one module or folder each: Django, Flask, FastAPI, SQLAlchemy, joblib, pytest.

Each may import everything above it, and its own framework; no other room imports one, and none imports another.
Nothing here is imported before it is used, so no framework is needed that a program does not have.
"""
