"""Every error Longboat raises: one class for each thing that a caller can do about it.

    LongboatError
     ├─ ConfigError          a wrong option, URL or task definition: fix the code             (also ValueError)
     │   ├─ MissingExtra     a driver is not installed: install what the message names
     │   └─ AppNotFound      the app cannot be imported
     ├─ AppClosed            the app was closed during the call: use it before it is closed   (also RuntimeError)
     ├─ WouldBlock           waiting here would stop this thread's event loop: await instead  (also RuntimeError)
     ├─ BrokerError
     │   ├─ BrokerUnavailable   not reached, or no answer in time: try again later            (also ConnectionError)
     │   │   └─ BrokerMisconfigured   a wrong key or password, a missing database or folder: correct it
     │   ├─ BrokerFull          no room: nothing was stored; make room, then try again
     │   ├─ StoreTooNew         the store was written by a newer Longboat: upgrade this one
     │   └─ Unsupported         this broker cannot do this: use one that the message names
     ├─ EnqueueError         refused before anything was sent
     │   ├─ BadArguments     the arguments do not fit the task                                (also TypeError)
     │   ├─ UnknownTask      no task of that name is registered here                          (also LookupError)
     │   ├─ TooLarge         over the message limit: pass a path instead
     │   └─ UnknownParent    a job was put after one that is not known                        (also LookupError)
     ├─ Undecodable          bytes that are not what they should be                           (also ValueError)
     ├─ WorkerFailed         a worker inside this program ended by an error: enter a new one
     └─ ResultError
         ├─ JobFailed        the job is dead: remote type, message, traceback
         ├─ JobCancelled     the job was cancelled, or expired before it started
         ├─ JobNotFound      no job with this id, or forgotten since                          (also LookupError)
         ├─ NotDelivered     the job came out of a spool or an outbox, but never to the broker
         └─ ResultTimeout    the job has not ended yet                                        (also TimeoutError)

Beside the tree, because no `except Exception` in a task may swallow it:

    Stopped (BaseException)  raised inside a task in a child process when its time is up or it was cancelled

Each of them can be copied and pickled, and `type(error)(*error.args)` makes an equal one.
"""

from __future__ import annotations

from copy import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class LongboatError(Exception):
    """The root of every error that Longboat raises on purpose."""


class ConfigError(LongboatError, ValueError):
    """An option, URL or task definition is wrong."""


class MissingExtra(ConfigError):
    """A broker's driver is not installed. The message names the extra to install."""


class AppNotFound(ConfigError):
    """The app named on the command line or in the configuration cannot be imported."""


class AppClosed(LongboatError, RuntimeError):
    """The app was closed while this call was under way. A job of a refused `enqueue` was not stored."""


class WouldBlock(LongboatError, RuntimeError):
    """A call that blocks its thread until jobs have ended was made where an event loop runs: `await` the job instead."""


class BrokerError(LongboatError):
    """The broker refused or could not do what was asked."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker was not reached, or did not answer in time. Nothing of the call was stored, unless `unknown` is True."""

    unknown: bool = False
    """The call was sent and no answer came, so nobody knows whether it was done. The message says so, too."""


class BrokerMisconfigured(BrokerUnavailable):
    """The broker cannot be used as it is set up: a wrong key or password, a database or folder that is missing.

    Trying again helps only once somebody has corrected that, there or here. Workers that run do try again.
    """


class BrokerFull(BrokerError):
    """The broker has no room left (disk, memory, a limit). Nothing of the call was stored."""


class StoreTooNew(BrokerError):
    """The store's schema is newer than this Longboat understands."""


class Unsupported(BrokerError):
    """This broker cannot do this; the message names brokers that can. `Broker.capabilities` lists what it can."""


class EnqueueError(LongboatError):
    """The call was refused before anything was sent."""


class BadArguments(EnqueueError, TypeError):
    """The arguments do not bind to the task's parameters, or cannot be serialised. The message names both."""


class UnknownTask(EnqueueError, LookupError):
    """No task of that name is registered in this app."""


class TooLarge(EnqueueError):
    """The message, or what is to be stored together or not at all, is over the size limit; pass big data by path."""


class UnknownParent(EnqueueError, LookupError):
    """A job was put `after` one that is not known: never enqueued here, or forgotten. Nothing was stored."""


class Undecodable(LongboatError, ValueError):
    """Bytes that are not a message of a version this Longboat knows."""


class WorkerFailed(LongboatError):
    """A thread of a worker inside this program ended by an error, its `__cause__`. Its jobs were handed back.

    Raised where the block that entered the worker is left.
    """


class ResultError(LongboatError):
    """A job's result cannot be given."""


class JobFailed(ResultError):
    """The job is dead: it failed, and has no attempts left."""

    def __init__(self, job_id: str, task: str, type: str, message: str, traceback: str, attempts: int) -> None:
        self.job_id = job_id
        """The job's id."""
        self.task = task
        """The task's name."""
        self.type = type
        """The qualified name of the exception that the task raised; or a reason, such as "longboat.Timeout"."""
        self.message = message
        """That exception's text."""
        self.traceback = traceback
        """The traceback in the worker, as text. May be empty: a killed process leaves none."""
        self.attempts = attempts
        """How many attempts were made."""
        super().__init__(job_id, task, type, message, traceback, attempts)

    def __str__(self) -> str:
        attempts = f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}"
        head = f"{self.task} [{self.job_id}] died after {attempts}: {self.type}: {self.message}"
        return f"{head}\n\n{self.traceback.rstrip()}" if self.traceback else head


class JobCancelled(ResultError):
    """The job was cancelled, or expired before it started; the message says which."""


class JobNotFound(ResultError, LookupError):
    """No job with this id is known: never enqueued here, or pruned since it ended."""


class NotDelivered(ResultError):
    """The job never reached the broker: its time in the spool was over before the broker was back, or the broker refused it
    when it came out of the spool or the outbox. The message says which. It stays there for a week."""


class ResultTimeout(ResultError, TimeoutError):
    """The job has not ended within the time given; it goes on."""


class Stopped(BaseException):
    """Raised inside a running task of a child process when its time is up or it was cancelled.

    Clean up and let it pass: the child is killed after a grace period. Coroutines get asyncio.CancelledError instead;
    functions in threads look at `longboat.current().stopping`.
    """


def unanswered(message: str) -> BrokerUnavailable:
    """The error for a call that was sent, and whose answer did not come."""
    error = BrokerUnavailable(message)
    error.unknown = True
    return error


def again(error: E) -> E:
    """A copy of an error, for one more caller: one instance raised in several threads would mix their tracebacks.

    An error of somebody else's class that cannot be copied is returned as it is.
    """
    try:
        return copy(error)
    except Exception:
        return error
