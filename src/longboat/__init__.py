"""Longboat: a distributed task queue for Python. This is the public surface; longboat.testing is public too."""

from typing import TYPE_CHECKING

from longboat.app import Longboat
from longboat.client.gather import as_completed, gather
from longboat.connect import connect
from longboat.core.job import Failure, Job, State
from longboat.core.retry import RetryPolicy
from longboat.core.version import __version__ as __version__
from longboat.core.views import JobView
from longboat.errors import (
    AppClosed,
    AppNotFound,
    BadArguments,
    BrokerError,
    BrokerFull,
    BrokerMisconfigured,
    BrokerUnavailable,
    ConfigError,
    EnqueueError,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LongboatError,
    MissingExtra,
    NotDelivered,
    ResultError,
    ResultTimeout,
    Stopped,
    StoreTooNew,
    TooLarge,
    Undecodable,
    UnknownParent,
    UnknownTask,
    Unsupported,
    WorkerFailed,
    WouldBlock,
)
from longboat.observe import events
from longboat.tasks.current import Running, current
from longboat.tasks.depends import Depends
from longboat.tasks.flow import Flow, FlowStatus
from longboat.tasks.handle import Handle, LogLine, Progress, Update
from longboat.tasks.limits import Limit, Unique
from longboat.tasks.middleware import Middleware
from longboat.tasks.outgoing import Outgoing
from longboat.tasks.schedule import Schedule, every
from longboat.tasks.signature import Signature, chain, chord, group
from longboat.tasks.task import Task

if TYPE_CHECKING:
    from longboat.pools.executor import Executor
    from longboat.pools.pool import Pool

__all__ = [
    "AppClosed",
    "AppNotFound",
    "BadArguments",
    "BrokerError",
    "BrokerFull",
    "BrokerMisconfigured",
    "BrokerUnavailable",
    "ConfigError",
    "Depends",
    "EnqueueError",
    "Executor",
    "Failure",
    "Flow",
    "FlowStatus",
    "Handle",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobView",
    "Limit",
    "LogLine",
    "Longboat",
    "LongboatError",
    "Middleware",
    "MissingExtra",
    "NotDelivered",
    "Outgoing",
    "Pool",
    "Progress",
    "ResultError",
    "ResultTimeout",
    "RetryPolicy",
    "Running",
    "Schedule",
    "Signature",
    "State",
    "Stopped",
    "StoreTooNew",
    "Task",
    "TooLarge",
    "Undecodable",
    "Unique",
    "UnknownParent",
    "UnknownTask",
    "Unsupported",
    "Update",
    "WorkerFailed",
    "WouldBlock",
    "as_completed",
    "chain",
    "chord",
    "connect",
    "current",
    "events",
    "every",
    "gather",
    "group",
]


if not TYPE_CHECKING:  # what not every program needs is imported when it is asked for

    def __getattr__(name: str) -> object:
        if name == "Executor":
            from longboat.pools.executor import Executor

            return Executor
        if name == "Pool":
            from longboat.pools.pool import Pool

            return Pool
        from longboat.tasks.elsewhere import MODULE

        if name in MODULE:
            raise AttributeError(f"module {__name__!r} has no {name!r}: use {MODULE[name]}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
