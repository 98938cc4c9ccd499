"""Every broker behaves as the model says, whatever callers, workers and an operator do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from longboat.contract.broker import Broker
from longboat.testing.clock import FakeClock
from tests.model.machine_companion import CompanionMachine
from tests.model.machine_constraints import ConstrainedMachine
from tests.rigs.harnesses import ADAPTERS, unavailable

NOT_AS_MODELLED = {"rabbitmq", "rabbitmq+store"}
"""The model knows the order of all jobs, and RabbitMQ keeps its own. The companion is played over another carrier."""

MACHINES = {"companion": CompanionMachine}


@pytest.mark.timeout(400)  # PostgreSQL needs two minutes on a busy machine
@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param(name, marks=() if name == "memory" else pytest.mark.slow)
        for name in ADAPTERS
        if name not in NOT_AS_MODELLED
    ],
)
def test_the_broker_behaves_as_the_model_says(adapter: str) -> None:
    if reason := unavailable(adapter):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder:

        class Machine(MACHINES.get(adapter, ConstrainedMachine)):  # type: ignore[misc]  # its base is not known to mypy
            @staticmethod
            def new_broker(clock: FakeClock) -> Broker:
                return ADAPTERS[adapter](Path(folder), clock).open()

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=100 if adapter in ("memory", "sqlite", "companion") else 40,  # a server's answers take long
                stateful_step_count=40,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # shrinking takes minutes on a file; the steps are printed as they were
                suppress_health_check=list(HealthCheck),
            ),
        )
