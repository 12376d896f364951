"""A YAML file with the line of every key, and its writing back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from everloop.errors import ConfigurationError

__all__ = ["Document", "KeyPath", "dump_yaml", "parse_document", "read_document", "show_key"]

KeyPath: TypeAlias = tuple[str | int, ...]

_MAX_DEPTH: Final = 40
_FLOW: Final = "expected ',' or '}'"


class _Loader(yaml.SafeLoader):
    """YAML's core scalars only: `on`, `yes`, `2024-01-01` and `12:30` stay text, as a column may be called so."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back the same."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_FOLDED: Final = re.compile("[\\x85\\u2028\\u2029\\ufeff\\r\\n]")
_NUMBER_STARTS: Final = list("-+.0123456789")
for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {}
    _side.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
    _side.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|)$"), ["~", "n", "N", ""])
    _side.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), _NUMBER_STARTS)
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|\.(?:inf|nan))$"),
        _NUMBER_STARTS,
    )


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Line ends that YAML would fold are escaped."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _FOLDED.search(text) else None)


_Dumper.add_representer(str, _text)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says and where.

    name: how mistakes call it, relative to the project.
    value: plain dicts, lists and scalars.
    lines: the 1-based line of every key and item.
    mistakes: what is wrong with the YAML itself, ready to be shown.
    """

    name: str
    value: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()

    def mistake(self, path: KeyPath, sentence: str) -> str:
        """`name:line: key: sentence`, the line of `path` or of the nearest thing that holds it."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        key = show_key(path)
        return f"{self.name}:{self.lines.get(known, 1)}: {key + ': ' if key else ''}{sentence}"


def show_key(path: KeyPath) -> str:
    """`('rollout', 'steps', 2)` as `rollout.steps[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path, *, name: str | None = None) -> Document:
    """Read a file; a mistake of the YAML is in `mistakes`, an unreadable file raises ConfigurationError."""
    shown = str(path) if name is None else name
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError([f"{shown}:1: there is no such file"]) from None
    except OSError as error:
        raise ConfigurationError([f"{shown}:1: the file cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{shown}:1: the file is no text in UTF-8: {error.reason}"]) from error
    return parse_document(text, name=shown)


def parse_document(text: str, *, name: str) -> Document:
    """The document of a YAML text; an empty one is an empty mapping."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        return Document(name=name, value={}, mistakes=(f"{name}:1: not YAML: {' '.join(str(error).split())}",))
    try:
        node = loader.get_single_node()
        reader = _Reader(name=name, loader=loader)
        value = {} if node is None else reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        quotes = "; in {…} a value that holds a comma or a ? is put in quotes" if _FLOW in str(error.problem) else ""
        return Document(name=name, value={}, mistakes=(f"{name}:{line}: not YAML: {error.problem}{quotes}",))
    except (yaml.YAMLError, RecursionError) as error:
        return Document(name=name, value={}, mistakes=(f"{name}:1: not YAML: {error}",))
    finally:
        loader.dispose()
    if value is None:
        value = {}
    return Document(name=name, value=value, lines=reader.lines, mistakes=tuple(reader.mistakes))


class _Reader:
    """Turns composed nodes into values, keeping lines; keys twice, aliases and depth are mistakes."""

    def __init__(self, *, name: str, loader: _Loader) -> None:
        self._name = name
        self._loader = loader
        self._seen: set[int] = set()
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[str] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """The plain value of `node`, which stands at `path`."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._seen:
            return self._wrong(node, path, "aliases (*name) are not read; write the value out")
        self._seen.add(id(node))
        if len(path) > _MAX_DEPTH:
            return self._wrong(node, path, "nested too deeply")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(key_node, path, "a key is one word")
                continue
            key = str(key_node.value)
            if key in values:
                self._wrong(key_node, (*path, key), f"the key stands twice, first in line {self.lines[(*path, key)]}")
                continue
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, (*path, key))
        return values

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            return self._wrong(node, path, f"the tag {node.tag} is not read")
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            return self._wrong(node, path, f"{node.value!r} cannot be read: {error}")

    def _wrong(self, node: yaml.Node, path: KeyPath, sentence: str) -> None:
        key = show_key(path)
        self.mistakes.append(f"{self._name}:{node.start_mark.line + 1}: {key + ': ' if key else ''}{sentence}")


def dump_yaml(value: Any, *, width: int = 110) -> str:
    """Plain values as YAML in their own order, folded near `width` columns; `parse_document` reads the same back."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text
