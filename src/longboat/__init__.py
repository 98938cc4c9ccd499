"""Longboat: a distributed task queue for Python. This is the public surface; longboat.testing is public too."""

from longboat.app import Longboat
from longboat.connect import connect
from longboat.current import Running, current
from longboat.errors import (
    AppNotFound,
    BadArguments,
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    ConfigError,
    EnqueueError,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LongboatError,
    MissingExtra,
    ResultError,
    ResultTimeout,
    Stopped,
    StoreTooNew,
    TooLarge,
    Undecodable,
    UnknownTask,
    Unsupported,
)
from longboat.gather import as_completed, gather
from longboat.handle import Handle
from longboat.job import Failure, Job, JobView, State
from longboat.retry import RetryPolicy
from longboat.task import Task

__version__ = "0.1.0"

__all__ = [
    "AppNotFound",
    "BadArguments",
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "ConfigError",
    "EnqueueError",
    "Failure",
    "Handle",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobView",
    "Longboat",
    "LongboatError",
    "MissingExtra",
    "ResultError",
    "ResultTimeout",
    "RetryPolicy",
    "Running",
    "State",
    "Stopped",
    "StoreTooNew",
    "Task",
    "TooLarge",
    "Undecodable",
    "UnknownTask",
    "Unsupported",
    "as_completed",
    "connect",
    "current",
    "gather",
]
