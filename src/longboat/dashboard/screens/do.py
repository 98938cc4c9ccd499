"""Doing something: a question where it cannot be undone, then the verb, then back with what came of it."""

from __future__ import annotations

import logging

from longboat.dashboard import audit
from longboat.dashboard.ask import Ask, Goto, Page, Refused, local
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS, Outcome, Verb
from longboat.dashboard.words import printable, segment
from longboat.errors import BrokerError

NAMED = 20
"""Ids that the audit log names, and fields that a question shows."""


def question(site: Site, ask: Ask) -> Page:
    """A page that asks, and shows all that a link to it has filled in: nothing is done by a link, nor unseen."""
    name = ask.place["verb"]
    verb = allowed(ask, name)
    text = verb.question(site, ask) if verb.question else f"{name.capitalize()}?"
    back = local(ask.query.get("next", ""))
    told = {field: ask.many(field) for field in ask.query if field != "next"}
    if len(told) > NAMED:
        raise Refused(400, "That is more than anybody would read.")
    context = {"text": text, "verb": name, "fields": ask.pairs, "told": told, "named": NAMED, "back": back}
    return Page("question.html", context, live=False)


def act(site: Site, ask: Ask) -> Goto:
    """A verb, asked for by a form."""
    outcome = done(site, ask, ask.place["verb"])
    path = segmented(outcome.path) if outcome.path else local(ask.field("next"))
    return Goto(path, outcome.said)


def done(site: Site, ask: Ask, name: str) -> Outcome:
    """Do it and write it down. Raises Refused, and what the verb raises."""
    verb = allowed(ask, name)
    try:
        outcome = verb.act(site, ask)
    except BrokerError as error:  # part of it may be done
        _write_down(site, ask, name, f"not known how far: {error}")
        raise
    site.forget()
    outcome.said = printable(outcome.said)
    outcome.said += _write_down(site, ask, name, outcome.said)
    return outcome


def _write_down(site: Site, ask: Ask, name: str, said: str) -> str:
    """In the log and the audit log; what to add to what is said, where that was not possible."""
    ids = ask.many("id")
    shown = f" ({', '.join(ids[:NAMED])}{f' and {len(ids) - NAMED:,} more' if ids[NAMED:] else ''})" if ids else ""
    who, role, what = ask.person.name, ask.person.role.name.lower(), printable(f"{said}{shown}")
    logging.getLogger("longboat.dashboard").info("%s (%s) %s: %s", who, role, name, what)
    try:
        site.if_there(lambda: audit.record(site.broker.kv, who, role, name, what), None)
    except BrokerError as error:  # it is done: the answer says so
        return f" (but the audit log could not be written: {error})"
    return ""


def allowed(ask: Ask, name: str) -> Verb:
    verb = VERBS.get(name)
    if verb is None:
        raise Refused(404, f"There is nothing called {name!r} to do.")
    if ask.person.role < verb.role:
        role = verb.role.name.lower()
        raise Refused(403, f"This takes the role {role}; yours is {ask.person.role.name.lower()}.")
    return verb


def segmented(path: str) -> str:
    """A verb's path with the id in it quoted."""
    head, _, rest = path.removeprefix("/").partition("/")
    return f"/{head}/{segment(rest)}" if rest else path
