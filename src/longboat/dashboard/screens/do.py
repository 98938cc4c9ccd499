"""Doing something: a question if it cannot be undone, then the verb, then back to a page that shows the outcome."""

from __future__ import annotations

import logging

from longboat.core.text import escaped
from longboat.dashboard import audit
from longboat.dashboard.ask import Ask, Goto, Page, Refused, local
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS, Outcome, Verb
from longboat.dashboard.words import segment
from longboat.errors import BrokerError, Unsupported

NAMED = 20
"""Ids that the audit log names, and fields that a question shows, at most."""


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
    outcome.message += _record(site, ask, name, outcome.message)
    return outcome


def _record(site: Site, ask: Ask, name: str, message: str) -> str:
    """Write it to the log and the audit log. Returns what to add to the message if that was not possible."""
    ids = ask.many("id")
    shown = f" ({', '.join(ids[:NAMED])}{f' and {len(ids) - NAMED:,} more' if ids[NAMED:] else ''})" if ids else ""
    who, role, what = ask.person.name, ask.person.role.name.lower(), escaped(f"{message}{shown}")
    logging.getLogger("longboat.dashboard").info("%s (%s) %s: %s", who, role, name, what)
    try:
        site.if_there(lambda: audit.record(site.broker.kv, who, role, name, what), None)
    except BrokerError as error:  # the change itself is done, and the answer says so
        return f" (but the audit log could not be written: {error})"
    return ""


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
