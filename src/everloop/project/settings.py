"""everloop.yaml: where a project runs. This file alone reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictInt, ValidationError, model_validator

from everloop.clock import open_clock
from everloop.project.document import Document, KeyPath, parse_document, read_document
from everloop.project.durations import parse_duration
from everloop.project.metrics import did_you_mean
from everloop.project.notify import Channel, channels, parse_notify
from everloop.project.rate import Rate
from everloop.project.roles import check_roles
from everloop.project.section import Section, keys_of, sentences
from everloop.project.size import Size

__all__ = [
    "KEY_VARIABLE",
    "Address",
    "Endpoint",
    "Retention",
    "Runs",
    "Settings",
    "SettingsResult",
    "Tls",
    "environment_variable",
    "key_place",
    "read_settings",
]

KEY_VARIABLE: Final = "EVERLOOP_KEY"
"""The variable that holds the secret of who acts. No setting, so that it never stands in a file of the project."""
_PREFIX: Final = "EVERLOOP_"
_REMOTE: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s?#]+")
_RESERVED: Final = ("EVERLOOP_TEST_", KEY_VARIABLE)
_LEAST_BODY_BYTES: Final = 1_000
_MOST_BODY_BYTES: Final = 256_000_000  # as many bytes as may wait together: a larger one could never be answered
_FILE_ONLY: Final = ("roles", "signers")  # who may do what is reviewed, and is no word of whoever wants to do it


def _text_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _ledger(value: object) -> object:
    known = ("sqlite://", "postgresql://", "postgresql+")
    if value is None or str(value).startswith(known):
        return value
    raise ValueError(f"{value!r} is not a ledger's address (sqlite:///FILE or postgresql://…)")


def _scheduler(value: object) -> object:
    known = ("tcp://", "tls://", "ucx://", "ws://", "wss://")
    if value is None or str(value).startswith(known):
        return value
    raise ValueError(f"{value!r} is not a Dask scheduler's address (tcp://HOST:8786 or tls://HOST:8786)")


def _place(value: object) -> object:
    if isinstance(value, str) and "://" in value and _REMOTE.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no place for artefacts (a folder, or s3://BUCKET/PREFIX)")
    return value


def _lease(value: object) -> timedelta:
    span = parse_duration(value)
    if not timedelta(seconds=1) <= span <= timedelta(hours=1):
        raise ValueError(f"{value} is not a lease (1s ≤ lease ≤ 1h)")
    return span


def _clock(value: object) -> object:
    if value is None or (str(value).startswith("shared:") and len(str(value)) > len("shared:")):
        return value
    raise ValueError(f"{value!r} is not a clock (shared:FILE, or leave it out for the machine's own)")


Port = Annotated[StrictInt, Field(ge=0, le=65535)]


class Address(Section):
    """Where a process listens."""

    host: str = Field("127.0.0.1", description="0.0.0.0 to be reached from other machines")
    port: Port = Field(8081, description="0 takes a free one and prints it")


def _rate(value: object) -> Rate | None:
    return None if value is None else Rate.parse(value)


def _body_size(value: object) -> Size:
    size = Size.parse(value)
    if not _LEAST_BODY_BYTES <= size.bytes <= _MOST_BODY_BYTES:
        allowed = f"{_LEAST_BODY_BYTES // 1_000}kB ≤ max_body ≤ {_MOST_BODY_BYTES // 1_000_000}MB"
        raise ValueError(f"{size} is out of range (allowed: {allowed})")
    return size


class Tls(Section):
    """The certificate that the endpoint shows. Paths are the project's unless they are absolute."""

    certificate: str | None = Field(None, description="PEM file, with the chain; left out: http, not https")
    key: str | None = Field(None, description="PEM file of its key; left out: in the same file")

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise ValueError("a key without its certificate; say both, tls: {certificate: FILE, key: FILE}")
        return self


def _access_log(value: object) -> object:
    if (
        not isinstance(value, str)
        or not value.strip()
        or value.lower() in ("on", "yes", "no", "true", "false", "stdout")
    ):
        raise ValueError(f"{value!r} is no place for the access log (off, stderr, or a file's path)")
    return value


class Endpoint(Section):
    """Where predictions are answered, and how."""

    host: str = Field("127.0.0.1", description="0.0.0.0 to be reached from other machines")
    port: Port = Field(8080, description="0 takes a free one and prints it")
    workers: Annotated[StrictInt, Field(ge=1, le=256)] = Field(1, description="processes that answer")
    max_rows: Annotated[StrictInt, Field(ge=1)] = Field(10_000, description="rows in one request, at most")
    queue: Annotated[StrictInt, Field(ge=1)] = Field(
        2_000, description="requests that wait in one process, at most; who comes then is told to come again (503)"
    )
    max_body: Annotated[Size, BeforeValidator(_body_size)] = Field(
        Size(text="64MB", bytes=64_000_000), description="a request's body, at most"
    )
    durability: Literal["process", "full"] = Field(
        "process", description="what an acknowledged row survives: a killed process, or (full) a power failure too"
    )
    keys: Literal["auto", "required", "open"] = Field(
        "auto",
        description="whether callers show a key: auto (where other machines reach it), required, or open (nobody does)",
    )
    rate: Annotated[Rate | None, BeforeValidator(_rate)] = Field(
        None, description="requests of one key, at most, e.g. 100/s, where the key says nothing; left out: no limit"
    )
    tls: Tls = Field(default_factory=lambda: Tls(), description="to answer https")
    access_log: Annotated[str, BeforeValidator(_access_log)] = Field(
        "off",
        description="where a line of JSON is written for each request: stderr, or a file in the project; else off",
    )


class Runs(Section):
    """How a worker runs what waits."""

    at_once: Annotated[StrictInt, Field(ge=1, le=256)] = Field(1, description="runs of one worker, at most")
    lease: Annotated[timedelta, BeforeValidator(_lease)] = Field(
        timedelta(seconds=30),
        description="a worker on another machine that is silent for so long is gone, and its runs go on elsewhere",
    )


def _kept(value: object) -> object:
    if value is None:
        return None
    span = parse_duration(value)
    if span < timedelta(days=1):
        raise ValueError(f"{value} is too short to keep anything (1d ≤ span, such as 90d); leave it out to keep all")
    return span


Kept = Annotated[timedelta | None, BeforeValidator(_kept)]


class Retention(Section):
    """How long what is of no more use is kept. Left out, it is kept for good."""

    bundles: Kept = Field(None, description="of versions that no longer answer, e.g. 90d; left out: for good")
    runs: Kept = Field(None, description="folders of runs that left no version that is kept, e.g. 30d")
    spools: Kept = Field(None, description="empty spools of endpoint processes that are gone, e.g. 7d")
    traffic: Kept = Field(None, description="days of the traffic log, e.g. 400d, once they are judged")

    @property
    def any(self) -> bool:
        """Whether anything is ever removed."""
        return any(span is not None for span in (self.bundles, self.runs, self.spools, self.traffic))


class Settings(Section):
    """Everything of everloop.yaml. Every key is optional."""

    ledger: Annotated[str | None, BeforeValidator(_ledger)] = Field(
        None, description="SQLAlchemy address, e.g. postgresql://host/db; left out: .everloop/ledger.db"
    )
    artifacts: Annotated[str | None, BeforeValidator(_place)] = Field(
        None,
        description="folder or s3://BUCKET/PREFIX of bundles, runs and traffic, for machines to share; "
        "left out: in .everloop",
    )
    endpoint: Endpoint = Field(default_factory=lambda: Endpoint(), description="where predictions are answered")
    control: Address = Field(
        default_factory=lambda: Address(), description="kept for the project's own page; nothing listens yet"
    )
    runs: Runs = Field(default_factory=lambda: Runs(), description="how a worker runs what waits")
    retention: Retention = Field(
        default_factory=lambda: Retention(), description="how long what is of no more use is kept; left out: for good"
    )
    dask: Annotated[str | None, BeforeValidator(_scheduler)] = Field(
        None, description="scheduler of a Dask cluster that fits trials, e.g. tcp://host:8786; left out: this machine"
    )
    mlflow: str | None = Field(None, description="tracking address to mirror runs and versions to; left out: off")
    notify: Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(parse_notify)] = Field(
        default_factory=dict,
        repr=False,
        description="apprise addresses that hear of alerts, e.g. slack://…; or by kind: {alert: …, alert closed: …, "
        "refused: …, failed: …, promoted: …, stopped: …, rolled back: …, schedule: …, rejected: …, all: …}",
    )
    roles: Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(check_roles)] = Field(
        default_factory=dict,
        description="who is viewer, scientist, approver, operator, e.g. {approver: [alice]}; left out: all are all",
    )
    signers: str | None = Field(
        None, description="file of ssh keys whose signed commits prove who approves (git's allowed signers)"
    )
    clock: Annotated[str | None, BeforeValidator(_clock)] = Field(
        None, description="shared:FILE follows another process's clock (replays); left out: the machine's own"
    )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Whom `notify` names, each once."""
        return channels(self.notify)


class SettingsResult:
    """Settings read, or what is wrong with them."""

    def __init__(self, settings: Settings | None, mistakes: tuple[str, ...]) -> None:
        self.settings = settings
        self.mistakes = mistakes


def read_settings(
    path: Path, *, name: str, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> SettingsResult:
    """Settings by precedence: flags (`{"endpoint.port": 0}`) over EVERLOOP_A__B over the file."""
    document = read_document(path, name=name)
    values = document.value
    if not isinstance(values, dict):
        return SettingsResult(None, (document.mistake((), "the file is a mapping of keys to values"),))
    places: dict[KeyPath, str] = {}
    mistakes = list(document.mistakes)
    variables = os.environ if environment is None else environment
    for variable in sorted(variables):
        if variable.startswith(_PREFIX) and not variable.startswith(_RESERVED):
            _put_variable(values, variable, variables[variable], places, mistakes)
    for flag, value in (flags or {}).items():
        _put(values, key := tuple(flag.split(".")), value)
        places[key] = f"--{flag}"
    try:
        settings = Settings.model_validate(values)
        open_problem = None if mistakes else _clock_problem(settings)
        if open_problem is not None:
            mistakes.append(_place_of(document, places, ("clock",), open_problem))
    except ValidationError as error:
        mistakes += [_place_of(document, places, key, text) for key, text in sentences(error, Settings)]
        return SettingsResult(None, tuple(mistakes))
    return SettingsResult(settings, tuple(mistakes))


def key_place(environment: Mapping[str, str] | None = None) -> tuple[str | None, Path]:
    """Where the secret of who acts may be: what EVERLOOP_KEY holds (None: it is not set), and the file for it.

    The file is `everloop/key` in XDG_CONFIG_HOME, else in `~/.config`.
    """
    variables = os.environ if environment is None else environment
    folder = variables.get("XDG_CONFIG_HOME") or str(Path(variables.get("HOME") or Path.home()) / ".config")
    return variables.get(KEY_VARIABLE), Path(folder) / "everloop" / "key"


def environment_variable(name: str) -> str:
    """What the environment holds under a name that a file of the project gives; empty where it is not set."""
    return os.environ.get(name, "")


def _put_variable(
    values: dict[str, Any], variable: str, text: str, places: dict[KeyPath, str], mistakes: list[str]
) -> None:
    key: KeyPath = tuple(variable.removeprefix(_PREFIX).lower().split("__"))
    if key[0] in _FILE_ONLY:
        mistakes.append(f"{variable}: {key[0]} is read from everloop.yaml alone; whoever runs a command cannot set it")
        return
    if key[-1] not in keys_of(Settings, key[:-1]) and key[0] != "notify":
        mistakes.append(f"{variable}: no setting has this name{did_you_mean(variable, _variables(Settings, _PREFIX))}")
        return
    parsed = parse_document(text, name=variable)
    _put(values, key, text if parsed.mistakes else None if not text else parsed.value)
    places[key] = variable


def _variables(section: type[BaseModel], prefix: str) -> list[str]:
    """The variable of every key, sections' inner ones too."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        variable = prefix + name.upper()
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            names += _variables(inner, variable + "__")
        else:
            names.append(variable)
    return names


def _put(values: dict[str, Any], key: KeyPath, value: Any) -> None:
    *sections, last = (str(part) for part in key)
    for section in sections:
        inner = values.get(section)
        values[section] = values = dict(inner) if isinstance(inner, dict) else {}
    values[last] = value


def _place_of(document: Document, places: Mapping[KeyPath, str], key: KeyPath, sentence: str) -> str:
    """A mistake, said of the flag or variable that brought the value, else of the file's line."""
    for length in range(len(key), 0, -1):
        if key[:length] in places:
            return f"{places[key[:length]]}: {sentence}"
    return document.mistake(key, sentence)


def _clock_problem(settings: Settings) -> str | None:
    try:
        open_clock(settings.clock)
    except (OSError, ValueError) as error:
        return f"the shared clock cannot be opened: {error}"
    return None
