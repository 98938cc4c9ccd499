"""The app that most tests of the dashboard look at: bare, or stocked with jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.dashboard import longboat_dashboard
from tests.rigs.dashboard import asking, shop, stock


@pytest.fixture
def bare() -> Iterator[Longboat]:
    with shop("memory://") as app:
        yield app


@pytest.fixture
def stocked(bare: Longboat) -> Longboat:
    stock(bare)
    return bare


@pytest.fixture
def page(stocked: Longboat) -> Iterator[TestClient]:
    dashboard = longboat_dashboard(stocked, local_role="admin")
    with asking(dashboard) as client:
        yield client
    dashboard.close()
