"""The OpenAPI document of the JSON API, made from the table of what can be read and the table of verbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from longboat import __version__
from longboat.dashboard.ask import Screen
from longboat.dashboard.verbs import Verb


class Read(NamedTuple):
    """Something that can be read."""

    path: str
    screen: Screen
    summary: str
    query: Sequence[tuple[str, str]] = ()
    """Parameters: name and description."""


def document(root: str, reads: Sequence[Read], verbs: Mapping[str, Verb]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for read in reads:
        path = read.path.replace(":path", "")
        parameters = [_parameter("id", "URL-encoded.", "path")] if "{id}" in path else []
        parameters += [_parameter(*each, "query") for each in read.query]
        paths[path] = {"get": _operation(f"get{path}", read.summary, parameters)}
    for name, verb in verbs.items():
        operation = _operation(f"do/{name}", f"Requires the role {verb.role.name.lower()}.", [])
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


def _parameter(name: str, text: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "description": text, "schema": {"type": "string"}}
