"""Errors of redis-py, as those of `longboat.errors`."""

from __future__ import annotations

from redis import exceptions

from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable, unanswered

_LATER = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "UNBLOCKED", "MISCONF", "NOREPLICAS")
"""Answers of a server that starts, changes its role, moves a slot, or cannot write at present."""
_ELSEWHERE = ("READONLY ", "MASTERDOWN ", "UNBLOCKED ")
"""Those of one that another has taken the place of."""


def is_elsewhere(error: BaseException) -> bool:
    """Whether the server has done nothing, and says that another one does it now.

    Before Redis 7 what a script meets there arrives within "ERR Error running script".
    """
    if isinstance(error, exceptions.ReadOnlyError | exceptions.MasterDownError | exceptions.MovedError):
        return True
    return isinstance(error, exceptions.ResponseError) and any(word in str(error) for word in _ELSEWHERE)


def translated(error: Exception, where: str, prefix: str) -> BrokerError:
    """The error to raise for one of redis-py."""
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM command not allowed" in text:
        return BrokerFull(f"{where}: its memory is full (maxmemory). Nothing was stored. Drain it, or raise maxmemory")
    if what := _refusal(error, text):
        return BrokerMisconfigured(f"{where} {what}: {text}")
    if "WRONGTYPE" in text:
        return BrokerError(
            f"{where}: a key that Longboat uses has another type: another program uses its prefix, {prefix} "
            f"Choose another one (?prefix=…). The server says: {text}"
        )
    if isinstance(error, exceptions.AskError | exceptions.TryAgainError):
        return BrokerUnavailable(f"{where}: the store's slot is moving to another node")
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY " in text:
        return BrokerUnavailable(f"{where} is a read-only replica: name the master, or the Sentinels that know it")
    if isinstance(error, exceptions.MovedError):
        return BrokerUnavailable(f"{where}: the store's slot has moved to {error.host}:{error.port}")
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return unanswered(f"{where} did not answer in time")
    if isinstance(error, exceptions.ConnectionError | exceptions.ClusterError | OSError):
        return unanswered(f"{where} cannot be reached: {text}")
    if text.startswith(_LATER) or any(f"-{word}" in text or f" {word}" in text for word in _LATER):
        return BrokerUnavailable(f"{where} cannot do this now: {text}")
    return BrokerError(f"{where}: {text}")


def _refusal(error: Exception, text: str) -> str:
    """What the server refuses this user, whenever it is tried; empty: nothing."""
    if isinstance(error, exceptions.NoPermissionError) or "user executing the script" in text:
        return "does not allow this user what Longboat needs (docs/security.md)"
    if isinstance(error, exceptions.AuthenticationError):
        return "refuses these credentials"
    return "has no database of that number" if "DB index is out" in text else ""
