"""Doing something: a question where it cannot be undone, then the verb, then back with what came of it."""

from __future__ import annotations

import logging

from longboat.dashboard import audit
from longboat.dashboard.ask import Ask, Goto, Page, Refused
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS, Outcome, Verb
from longboat.dashboard.words import segment
from longboat.errors import BrokerError


def question(site: Site, ask: Ask) -> Page:
    """A page that asks. Without scripts and with, nothing is done by a link."""
    name = ask.place["verb"]
    verb = allowed(ask, name)
    text = verb.question(site, ask) if verb.question else f"{name.capitalize()}?"
    back = local(ask.query.get("next", ""))
    return Page("question.html", {"text": text, "verb": name, "fields": ask.pairs, "back": back}, live=False)


def act(site: Site, ask: Ask) -> Goto:
    """A verb, asked for by a form."""
    outcome = done(site, ask, ask.place["verb"])
    path = segmented(outcome.path) if outcome.path else local(ask.field("next"))
    return Goto(path, outcome.said)


def done(site: Site, ask: Ask, name: str) -> Outcome:
    """Do it and write it down. Raises Refused, and what the verb raises."""
    outcome = allowed(ask, name).act(site, ask)
    site.forget()
    who = ask.person
    logging.getLogger("longboat.dashboard").info("%s (%s) %s: %s", who.name, who.role.name.lower(), name, outcome.said)
    try:
        site.if_there(lambda: audit.note(site.broker.board, who.name, who.role.name.lower(), name, outcome.said), None)
    except BrokerError as error:  # it is done: the answer says so
        outcome.said += f" (but the audit log could not be written: {error})"
    return outcome


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


def local(path: str) -> str:
    """A path of ours to go back to; whatever is not one is the first page."""
    fine = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if fine else "/"
