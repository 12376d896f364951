"""`upstream:` of a model.yaml: versions that something else serves, and how their servers are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StrictInt

from everloop.project.document import KeyPath
from everloop.project.durations import parse_duration
from everloop.project.section import Section

__all__ = ["UpstreamServer", "Upstreams", "upstream_mistakes", "version_of"]

_VERSION: Final = re.compile(r"v?([1-9]\d{0,8})")
_LONGEST: Final = timedelta(seconds=30)
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TENSOR: Final = re.compile(r"[^\s/]{1,200}")


def _url(value: object) -> object:
    text = str(value)
    try:
        parts = urlsplit(text)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"{text!r} is not an address, such as http://models.internal:8080") from None
    if not isinstance(value, str) or parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right:
        raise ValueError(f"{text!r} is not an address, such as http://models.internal:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{parts.hostname} is asked without a user, a query or a fragment; leave them out")
    return text.rstrip("/")


def _span(value: object) -> timedelta:
    span = parse_duration(value)
    if not timedelta(milliseconds=1) <= span <= _LONGEST:
        raise ValueError(f"{value} is not a time to wait for an answer (1ms to 30s, such as 500ms)")
    return span


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _word(value: object) -> object:
    if value is not None and not (isinstance(value, str) and _TENSOR.fullmatch(value)):
        raise ValueError(f"{value!r} is not a name without spaces and slashes")
    return value


def _variable(value: object) -> object:
    """The name of a variable. What is none is not repeated: it may be the token itself."""
    if value is not None and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
        raise ValueError("is not the name of an environment variable, such as MODELS_TOKEN, that holds the token")
    return value


Variable = Annotated[str | None, BeforeValidator(_variable)]
Wait = Annotated[timedelta, BeforeValidator(_span)]
Word = Annotated[str | None, BeforeValidator(_word)]


class UpstreamServer(Section):
    """A server that answers for one version.

    timeout: the longest an answer may take. patience: how much longer than the others a version that answers nobody
    may keep a caller waiting.
    """

    url: Annotated[str, BeforeValidator(_url)] = Field(description="http://HOST:PORT, with a path where it has one")
    protocol: Literal["v2", "mlflow"] = Field("v2", description="v2: Open Inference Protocol; mlflow: /invocations")
    token: Variable = Field(
        None, description="the environment variable that holds the bearer token to send; left out: none is sent"
    )
    name: Word = Field(None, description="v2: what the server calls the model; left out: as here")
    tensor: Word = Field(
        None, description="v2: the one input that takes all columns as numbers; left out: an input for each column"
    )
    output: Word = Field(None, description="the output or column that is the score; left out: the first")
    columns: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        (), description="what is sent of a row, in this order; left out: the contract's features and inputs"
    )
    timeout: Wait = Field(timedelta(milliseconds=500), description="the longest an answer may take")
    patience: Wait = Field(
        timedelta(milliseconds=100), description="how much longer than the others one may take that answers nobody yet"
    )
    connections: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(32, description="open at once; more requests wait")


def _server(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def _by_version(value: object) -> object:
    return {str(key): server for key, server in value.items()} if isinstance(value, Mapping) else value


Upstreams = Annotated[Mapping[str, Annotated[UpstreamServer, BeforeValidator(_server)]], BeforeValidator(_by_version)]
"""`{v1: http://…, v2: {url: …, protocol: mlflow}}`."""


def version_of(key: str) -> int | None:
    """`v7` or `7` → 7; None for what is no version."""
    found = _VERSION.fullmatch(key)
    return None if found is None else int(found[1])


def upstream_mistakes(servers: Mapping[str, UpstreamServer]) -> list[tuple[KeyPath, str]]:
    """Keys that are no version, versions that stand twice, and keys that the protocol has no use for."""
    found: list[tuple[KeyPath, str]] = []
    taken: dict[int, str] = {}
    for key, server in servers.items():
        path: KeyPath = ("upstream", key)
        version = version_of(key)
        if version is None:
            found.append((path, f"{key!r} is not a version, such as v1"))
        elif version in taken:
            found.append((path, f"v{version} stands twice, as {taken[version]} and as {key}"))
        else:
            taken[version] = key
        said: set[Any] = server.model_fields_set
        if server.protocol == "mlflow":
            found += [
                ((*path, name), "is of the protocol v2; leave it out") for name in ("name", "tensor") if name in said
            ]
        if len(set(server.columns)) < len(server.columns):
            found.append(((*path, "columns"), "a column stands twice"))
    return found
