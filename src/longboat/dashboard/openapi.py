"""The OpenAPI document of the JSON API, made from the table of verbs and the list of what can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longboat import __version__
from longboat.dashboard.verbs import Verb

_Q = ("q", "A search, as on the page of jobs: `state:dead queue:mail args.user.id:42`.")
_LIMIT = ("limit", "At most so many.")
_RANGE = ("range", "15m, 2h, 24h, 7d or 90d.")

READS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("/jobs", "Jobs that a search finds, state by state.", [_Q, _LIMIT, ("after", "Go on where the last answer ended.")]),
    ("/jobs/{id}", "One job: arguments, result, failures, logs, progress, and why it is where it is.", []),
    ("/queues", "Queues with their counts by state, their rate, and since when the first of each waits.", []),
    ("/workers", "Workers that showed themselves in the last seconds, with what they run.", []),
    ("/failures", "Groups of failures that are alike, the latest first.", []),
    ("/schedules", "Schedules, with when each is due next.", []),
    ("/flows", "The newest flows, with their jobs by state.", [_LIMIT]),
    (
        "/history",
        "By time: attempts ended a second, by outcome; quantiles (0.5, 0.95, 0.99) of waiting and running, in seconds.",
        [_RANGE, ("queue", "Of this queue."), ("task", "Of this task.")],
    ),
    (
        "/scaling",
        "What an autoscaler needs: jobs ready and running, workers and slots, and how many workers are wanted.",
        [("queue", "Of this queue; may be given again."), ("queues", "Of these: a,b.")],
    ),
    ("/bulk", "How many jobs a bulk action would find.", [("verb", "retry, cancel, discard or move."), _Q]),
    ("/bulk/{id}", "How far a bulk action is.", []),
]


def document(root: str, verbs: Mapping[str, Verb]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for path, text, query in READS:
        paths[path] = {
            "get": _operation(f"get{path}", text, [*_places(path), *(_parameter(*each, "query") for each in query)])
        }
    for name, verb in verbs.items():
        text = f"Takes the role {verb.role.name.lower()}."
        operation = _operation(f"do/{name}", text, [])
        properties = {field: {"description": meaning} for field, meaning in verb.fields.items()}
        schema = {"type": "object", "properties": properties}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths[f"/do/{name}"] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Longboat", "version": __version__},
        "servers": [{"url": f"{root}/api/v1"}],
        "security": [{"token": []}, {}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def _operation(name: str, text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    name = name.replace("/", "_").replace("{", "").replace("}", "").replace("-", "_")
    answers = {"200": {"description": "JSON."}, "4XX": {"description": 'Refused: {"error": …, "advice": …}.'}}
    return {"operationId": name, "summary": text, "parameters": parameters, "responses": answers}


def _places(path: str) -> list[dict[str, Any]]:
    return [_parameter("id", "Quoted.", "path")] if "{id}" in path else []


def _parameter(name: str, text: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "description": text, "schema": {"type": "string"}}
