"""Short ids: what a terminal shows of an id, and the job that somebody means by a part of one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from longboat.cli.fail import USAGE, CommandFailed
from longboat.contract.capabilities import Capability
from longboat.core.job import order_of

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

HALF = 16
"""Characters of an id that Longboat made, before its dash: the time at which it was made. The rest names the process."""
SHORT = 12
"""Of these the last ones are shown: they come again after 19 hours, to the microsecond."""
_PART = re.compile("[0-9a-f]{4,16}|[0-9a-f]{16}-[0-9a-f]{0,15}")
"""What may be short for an id."""
SECONDS = 10.0
"""How long a job is looked for by a part of its id."""


def short(job_id: str) -> str:
    """Of an id that Longboat made the last digits before the dash; any other one as it is."""
    return job_id[HALF - SHORT : HALF] if order_of(job_id) is not None else job_id


def means(text: str, job_id: str) -> bool:
    """Whether the text is the beginning of this id, or the end of the half before its dash. Own ids have no parts."""
    return order_of(job_id) is not None and (job_id.startswith(text) or job_id[:HALF].endswith(text))


def whole(broker: Broker, text: str) -> str:
    """The id of the job that is meant by an id or a part of one; the text itself if there is no such job.

    Costs nothing for an id that is whole; for a part of one, all jobs are looked at. Raises CommandFailed if several jobs
    are meant, or if there are too many to look at.
    """
    return wholes(broker, [text])[0]


def wholes(broker: Broker, texts: Sequence[str]) -> list[str]:
    """The same for several; each job once."""
    parts = [text for text in texts if _PART.fullmatch(text)]
    if not parts or Capability.LOOKUP not in broker.capabilities:
        return [*dict.fromkeys(texts)]
    own = {text for text, view in zip(parts, broker.inspector.find(parts), strict=True) if view is not None}
    found = {text: one(text, _found(broker, text)) for text in dict.fromkeys(parts) if text not in own}
    return [*dict.fromkeys(found.get(text, text) for text in texts)]


def whole_flow(broker: Broker, text: str) -> str:
    """The id of the flow that is meant by an id or a part of one; the text itself if there is no such flow."""
    from longboat.client.flows import NAMESPACE
    from longboat.observe.history import pages

    if not _PART.fullmatch(text):
        return text
    return one(text, (key for entries in pages(broker.kv, NAMESPACE) for key, _ in entries))


def one(text: str, ids: Iterable[str]) -> str:
    """That of these ids which is meant by the text; the text itself if none is. Raises CommandFailed if several are."""
    ids = set(ids)
    meant = sorted(each for each in ids if means(text, each)) if _PART.fullmatch(text) and text not in ids else []
    if len(meant) > 1:
        some = ", ".join(meant[:3]) + (", …" if len(meant) > 3 else "")
        raise CommandFailed(f"{text!r} is part of several ids: {some}", "Give more of the id.", USAGE)
    return meant[0] if meant else text


def _found(broker: Broker, text: str) -> Iterator[str]:
    from longboat.operate.search import Query, every

    end = time.monotonic() + SECONDS
    for some in every(broker, Query(texts=(text,))):
        yield from (view.id for view in some)
        if time.monotonic() > end:
            advice = "Give the whole id: `longboat jobs --json` shows it."
            raise CommandFailed(f"there are too many jobs to find the one whose id is short for {text!r}", advice, USAGE)
