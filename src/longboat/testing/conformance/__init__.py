"""The contract as tests: every promise that a broker makes is a clause. Needs no test framework.

    class New:                                     # an adapter joins with a harness of two methods
        def __init__(self) -> None: self.path = …  # an empty store
        def open(self) -> Broker: return MyBroker(self.path)
        def inject(self, raw: bytes, queue: str) -> None: …

    print(run(New))

A clause that needs what the broker does not declare (`Broker.capabilities`) is not run, and the report says so.
"""

from longboat.testing.conformance import (
    after,
    attempts,
    bad_input,
    chains,
    concurrency,
    kv,
    leases,
    limits,
    look,
    operate,
    order,
    parking,
    put,
    reasons,
    receive,
    results,
    settle,
    transactional,
    transfer,
)
from longboat.testing.conformance.clause import CLAUSES, Clause, NewBroker, Report, run

__all__ = ["CLAUSES", "Clause", "NewBroker", "Report", "run"]

SUBJECTS = (
    put,
    order,
    receive,
    settle,
    leases,
    attempts,
    bad_input,
    reasons,
    parking,
    results,
    look,
    operate,
    concurrency,
    chains,
    after,
    limits,
    kv,
    transfer,
    transactional,
)
