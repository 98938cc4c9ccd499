"""For tests: of programs that use Longboat (Harness), and of broker adapters (conformance, clock). Public.

Only integrations with test frameworks import it. The conformance suite needs errors, core and contract only.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longboat.testing.harness import Harness
    from longboat.worker.inline import Performed, WorkerKilled

__all__ = ["Harness", "Performed", "WorkerKilled"]


if not TYPE_CHECKING:  # the suite for brokers needs none of these

    def __getattr__(name: str) -> object:
        if name == "Harness":
            from longboat.testing.harness import Harness

            return Harness
        if name in __all__:
            from longboat.worker import inline

            return getattr(inline, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
