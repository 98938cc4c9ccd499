"""Doing something: a question if it cannot be undone, then the verb, then back to a page that shows the outcome."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from longboat.core.text import escaped
from longboat.dashboard.ask import Ask, Goto, Page, Refused, local
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS, Outcome, Verb
from longboat.dashboard.words import segment
from longboat.errors import BrokerError, Unsupported
from longboat.operate import audit

NAMED = 20
"""Fields that a question shows, at most."""


def question(site: Site, ask: Ask) -> Page:
    """A page that asks, and shows every field of the link that leads to it: a link changes nothing, and hides nothing."""
    name = ask.place["verb"]
    verb = allowed(ask, name)
    text = verb.question(site, ask) if verb.question else f"{name.capitalize()}?"
    back = local(ask.query.get("next", ""))
    told = {field: ask.many(field) for field in ask.query if field != "next"}
    if len(told) > NAMED:
        raise Refused(400, "There are more fields than can be shown.")
    context = {"text": text, "verb": name, "fields": ask.pairs, "told": told, "named": NAMED, "back": back}
    return Page("question.html", context, live=False)


def act(site: Site, ask: Ask) -> Goto:
    """A verb, requested by a form."""
    outcome = done(site, ask, ask.place["verb"])
    path = segmented(outcome.path) if outcome.path else local(ask.field("next"))
    return Goto(path, outcome.message)


def done(site: Site, ask: Ask, name: str) -> Outcome:
    """Do it and record it. Raises Refused, and whatever the verb raises."""
    verb = allowed(ask, name)
    try:
        outcome = verb.act(site, ask)
    except BrokerError as error:
        _record(site, ask, name, f"{'not done' if isinstance(error, Unsupported) else 'may be done in part'}: {error}")
        raise
    site.forget()
    outcome.message = escaped(outcome.message)
    if not outcome.recorded:
        outcome.message += _record(site, ask, name, outcome.message, outcome.ids)
    return outcome


def _record(site: Site, ask: Ask, name: str, message: str, changed: Sequence[str] = ()) -> str:
    """Write it to the log and the audit. Returns what to add to the message if that was not possible."""
    by, what = ask.by, escaped(audit.named(message, ask.many("id")))
    reason = f": {escaped(by.reason)}" if by.reason else ""
    logging.getLogger("longboat.dashboard").info("%s (%s) %s: %s%s", by.who, by.role, name, what, reason)
    return audit.told(site.broker, by, name, what, changed)


def allowed(ask: Ask, name: str) -> Verb:
    verb = VERBS.get(name)
    if verb is None:
        raise Refused(404, f"There is no action {name!r}.")
    if ask.person.role < verb.role:
        role = verb.role.name.lower()
        raise Refused(403, f"This requires the role {role}; yours is {ask.person.role.name.lower()}.")
    return verb


def segmented(path: str) -> str:
    """A verb's path with the id in it URL-encoded."""
    head, _, rest = path.removeprefix("/").partition("/")
    return f"/{head}/{segment(rest)}" if rest else path
