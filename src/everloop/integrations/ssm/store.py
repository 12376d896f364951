"""The store: what holds below a prefix, put whole by a revision that is written last, or set by somebody's hand.

A put writes `revision` twice: before the values, to say that a put is under way and what holds until it ends, and after
them, with the version of each. Readers take the versions that the revision names, never simply the newest. Where the
values are newer than a whole revision, or there is none, somebody set them by hand: those are read until two readings
agree.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Final, TypeVar

import msgspec

from everloop.errors import IntegrationError, NotFound, UsageError
from everloop.integrations.ssm.connection import connect, said
from everloop.integrations.ssm.manifest import Manifest, configured, content_sum, put_values
from everloop.integrations.ssm.parameters import HYPERPARAMETERS, NAMES, REVISION, Parameter, Parameters
from everloop.integrations.ssm.timeline import timeline
from everloop.production import Configuration, Part
from everloop.project import Model, Project, Spec

__all__ = ["SsmSpecs"]

_TRIES: Final = 20
_SETTLING_S: Final = 0.5
_ABANDONED_S: Final = 60.0
_LONGEST_REASON: Final = 1000
_NUMBERED: Final = re.compile(r"r(?P<number>[1-9]\d*)")
_BY_HAND: Final = re.compile(r"h\d+-[0-9a-f]{6}")

T = TypeVar("T")


class _Changing(Exception):
    """What was read changed while it was read; read again."""


class SsmSpecs:
    """A model's configuration in SSM Parameter Store.

    Versions: `r4` is the revision parameter's fourth, `h12-3fa2c1` what somebody set by hand, after twelve writes.
    settling_s: how long values that were set by hand must stay as they are to be taken. abandoned_s: after how long a
    put that began and did not end is taken for killed.
    """

    def __init__(
        self,
        project: Project,
        model: Model,
        *,
        settling_s: float = _SETTLING_S,
        abandoned_s: float = _ABANDONED_S,
    ) -> None:
        """Reaches nothing before a method is called."""
        self._abandoned_s = abandoned_s
        self._specs = model.spec_store
        self._model = model.name
        self._settling_s = settling_s

    @property
    def address(self) -> str:
        """`ssm:/fraud-detection`."""
        return str(self._specs.store)

    @cached_property
    def _parameters(self) -> Parameters:
        client = connect(self._specs.region)
        return Parameters(client, self._specs.store.name, secure=self._specs.secure)

    def get(self, version: str | None = None) -> Configuration:
        """What the label of model.yaml says, without one the newest; or a revision, a hand's version or a label."""
        with said(self.address):
            asked = self._specs.label if version is None else version
            return self._settled(lambda: self._found(asked))

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        """Write the values that are other than what is there, then the revision, then the label.

        Raises UsageError for a label where model.yaml names none: there the newest holds. Raises IntegrationError too
        where somebody else puts at the same time.
        """
        wanted = self._specs.label if label is None else label
        if label is not None and self._specs.label is None:
            raise UsageError(
                f"{self._model}/model.yaml names no label, so that the newest revision holds, whatever {label} says; "
                "write label: production below specs: first"
            )
        with said(self.address):
            values = put_values(spec)
            number = self._holds_already(values)
            if number is None:
                number = self._write(values, spec, actor)
            if wanted is not None:
                self._parameters.label(REVISION, number, wanted)
            return self._settled(lambda: self._revision(f"{REVISION}:{number}"))

    def history(self) -> list[Configuration]:
        """Every state that SSM still has, of 100 versions of each parameter, oldest first."""
        with said(self.address):
            names = [*NAMES, *(name for name in self._parameters.now() if name.startswith(HYPERPARAMETERS))]
            histories = {name: self._parameters.history(name) for name in names}
            revisions = self._parameters.history(REVISION)
        known = {(one.name, one.version): one for history in histories.values() for one in history}
        found = []
        for state in timeline(revisions, histories):
            parts = [known[part] for part in state.values.items() if part in known]
            if len(parts) < len(state.values):
                continue  # SSM forgot one of its values
            if state.revision is None:
                found.append(self._by_hand(parts))
            else:
                found.append(self._of_revision(state.revision, Manifest.read(state.revision.value), parts))
        return found

    def _settled(self, read: Callable[[], T]) -> T:
        for _ in range(_TRIES):
            try:
                return read()
            except _Changing:
                threading.Event().wait(self._settling_s / 10)
        raise IntegrationError(f"{self.address} changed each of the {_TRIES} times it was read; ask again later")

    def _found(self, asked: str | None) -> Configuration:
        if asked is None:
            return self._newest()
        if _NUMBERED.fullmatch(asked):
            return self._revision(f"{REVISION}:{asked[1:]}")
        if _BY_HAND.fullmatch(asked):
            found = next((one for one in self.history() if one.version == asked), None)
            if found is None:
                raise self._unknown(asked)
            return found
        labelled = self._parameters.one(f"{REVISION}:{asked}")
        return self._labelled_by_hand(asked) if labelled is None else self._revision(f"{REVISION}:{asked}")

    def _newest(self) -> Configuration:
        revision, now = self._together()
        if revision is not None:
            manifest = self._manifest(revision)
            if manifest.state == "writing" or _versions(now) == manifest.values | manifest.beside:
                return self._named(revision, manifest)
            if any(one.version < manifest.values.get(name, 0) for name, one in now.items()):
                raise _Changing  # what was read lags behind the revision
        if not any(name.startswith(HYPERPARAMETERS) or name in ("learner", "algorithm") for name in now):
            raise NotFound(f"{self.address} holds no configuration; 'everloop spec put NAME' writes one there")
        threading.Event().wait(self._settling_s)
        if self._together() != (revision, now):
            raise _Changing
        return self._by_hand(self._with_modifiers(now.values()))

    def _together(self) -> tuple[Parameter | None, dict[str, Parameter]]:
        """The revision and the values, the revision being the same before and after the values were read."""
        before = self._parameters.one(REVISION)
        now = self._parameters.now()
        now.pop(REVISION, None)
        if self._parameters.one(REVISION) != before:
            raise _Changing
        return before, now

    def _manifest(self, revision: Parameter) -> Manifest:
        try:
            return Manifest.read(revision.value)
        except ValueError as error:
            raise IntegrationError(
                f"{self.address}/{REVISION} is no manifest of everloop's ({error}); delete that parameter"
            ) from error

    def _revision(self, selector: str) -> Configuration:
        """A whole revision, by `revision:4` or `revision:production`."""
        revision = self._parameters.one(selector)
        if revision is None:
            raise self._unknown(selector)
        manifest = self._manifest(revision)
        if manifest.state == "writing":
            raise self._unknown(selector)
        return self._named(revision, manifest)

    def _named(self, revision: Parameter, manifest: Manifest) -> Configuration:
        """The values that a manifest names: of a put that is under way those that held before it."""
        if not manifest.values:
            raise NotFound(f"{self.address} holds no configuration yet: a first put of {manifest.by} is under way")
        found = self._parameters.asked(f"{name}:{version}" for name, version in manifest.values.items())
        parts = [found[name] for name in manifest.values if name in found]
        gone = sorted(manifest.values.keys() - found.keys())
        if gone or content_sum(_texts(parts)) != manifest.sha256:
            what = f"{gone[0]}:{manifest.values[gone[0]]} is gone" if gone else "their sum is another"
            raise IntegrationError(
                f"{self.address}, revision {revision.version}: the values are not those that were put: {what}; "
                "'everloop spec put NAME' writes it anew"
            )
        parts = self._with_modifiers(parts)
        if manifest.state == "writing" and manifest.version.startswith("h"):
            return self._by_hand(parts)
        if manifest.state == "writing":
            revision = Parameter(
                name=REVISION, value="", version=int(manifest.version[1:]), at=revision.at, modifier=revision.modifier
            )
        return self._of_revision(self._with_modifiers([revision])[0], manifest, parts)

    def _labelled_by_hand(self, label: str) -> Configuration:
        """Values that carry the label themselves, where no revision does."""
        names = [name for name in self._parameters.now() if name != REVISION]
        found = self._parameters.asked(f"{name}:{label}" for name in names)
        if not found:
            raise self._unknown(label)
        threading.Event().wait(self._settling_s)
        if self._parameters.asked(f"{name}:{label}" for name in names) != found:
            raise _Changing
        return self._by_hand(self._with_modifiers(found.values()))

    def _unknown(self, asked: str) -> NotFound:
        asked = asked.removeprefix(f"{REVISION}:")
        newest = self._parameters.one(REVISION)
        known = "nobody put a revision there yet" if newest is None else f"the newest revision is r{newest.version}"
        return NotFound(f"{self.address} has no version or label {asked}; {known}: 'everloop spec history' shows them")

    def _with_modifiers(self, parts: Iterable[Parameter]) -> list[Parameter]:
        """The same, each as the history has it: with who wrote it, and its labels."""
        found = []
        for part in parts:
            history = {one.version: one for one in self._parameters.history(part.name)}
            found.append(history.get(part.version, part))
        return found

    def _of_revision(self, revision: Parameter, manifest: Manifest, parts: Iterable[Parameter]) -> Configuration:
        parts = list(parts)
        fields = configured(_texts(parts))
        if manifest.reason:
            fields["said"]["reason"] = manifest.reason
        return Configuration(
            store=self.address,
            version=f"r{revision.version}",
            modifier=_known(revision.modifier) or manifest.by,
            at=revision.at,
            spec=manifest.spec,
            labels=revision.labels,
            parts=_parts(parts),
            **fields,
        )

    def _by_hand(self, parts: Iterable[Parameter]) -> Configuration:
        parts = list(parts)
        last = max(parts, key=lambda one: one.at)
        return Configuration(
            store=self.address,
            version=_hand_version(parts),
            modifier=_known(last.modifier),
            at=last.at,
            labels=tuple(sorted(set.intersection(*(set(one.labels) for one in parts)))),
            parts=_parts(parts),
            **configured(_texts(parts)),
        )

    def _holds_already(self, values: Mapping[str, str]) -> int | None:
        """The newest revision's number, where it is whole, untouched since and says the same."""
        revision, now = self._settled(self._together)
        if revision is None:
            return None
        manifest = self._manifest(revision)
        belongs = {name: one for name, one in now.items() if name in manifest.values}
        untouched = _versions(now) == manifest.values | manifest.beside
        same = _content(_texts(belongs.values())) == _content(values)
        return revision.version if manifest.state == "whole" and untouched and same else None

    def _write(self, values: Mapping[str, str], spec: Spec, actor: str) -> int:
        """Marker, values, revision; gives the revision's number."""
        revision, before = self._settled(self._together)
        self._refuse_beside_another(revision)
        marker = self._marker(revision, before, actor)
        mine = self._parameters.put(REVISION, marker.text(), there=revision is not None)
        if mine != 1 + (0 if revision is None else revision.version):
            raise self._busy("somebody else")  # who began in the same moment; they will see this revision and give way
        now = self._written(values, mine)
        versions = {name: one.version for name, one in now.items() if name != REVISION}
        whole = Manifest(
            values={name: versions[name] for name in values},
            beside={name: version for name, version in versions.items() if name not in values},
            sha256=content_sum(values),
            spec=spec.name,
            reason=spec.reason[:_LONGEST_REASON],
            by=actor,
        )
        return self._parameters.put(REVISION, whole.text(), there=True)

    def _refuse_beside_another(self, revision: Parameter | None) -> None:
        """A put gives way to one that is under way; one that has been silent for long was killed."""
        if revision is None:
            return
        manifest, age = self._manifest(revision), self._parameters.answered_at - revision.at
        if manifest.state == "writing" and age < timedelta(seconds=self._abandoned_s):
            raise self._busy(manifest.by)

    def _busy(self, who: str) -> IntegrationError:
        return IntegrationError(
            f"{self.address} is being written by {who} at the same time; put it again, or a minute later where that "
            "put was killed"
        )

    def _written(self, values: Mapping[str, str], mine: int) -> dict[str, Parameter]:
        """Write the values until they are all there; gives every parameter as it then is."""
        for _ in range(_TRIES):
            now = self._parameters.now()
            if now[REVISION].version != mine:
                raise self._busy(self._manifest(now[REVISION]).by)
            changed = [name for name, text in values.items() if name not in now or now[name].value != text]
            if not changed:
                return now
            for name in changed:
                self._parameters.put(name, values[name], there=name in now)
        raise IntegrationError(f"{self.address} is changed by somebody as often as it is written; put it again later")

    def _marker(self, revision: Parameter | None, before: Mapping[str, Parameter], actor: str) -> Manifest:
        """What holds until the put has ended."""
        if revision is not None:
            manifest = self._manifest(revision)
            if manifest.state == "writing":  # left by a put that was killed
                return msgspec.structs.replace(manifest, by=actor)
            if _versions(before) == manifest.values | manifest.beside:
                version = f"r{revision.version}"
                return msgspec.structs.replace(manifest, state="writing", by=actor, version=version)
        parts = list(before.values())
        return Manifest(
            state="writing",
            values=_versions(before),
            sha256=content_sum(_texts(parts)),
            by=actor,
            version=_hand_version(parts) if parts else "",
        )


def _versions(parameters: Mapping[str, Parameter]) -> dict[str, int]:
    return {name: one.version for name, one in parameters.items()}


def _texts(parts: Iterable[Parameter]) -> dict[str, str]:
    return {one.name: one.value for one in parts}


def _content(values: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in values.items() if name != "reason"}


def _parts(parts: Iterable[Parameter]) -> dict[str, Part]:
    return {one.name: Part(version=str(one.version), modifier=_known(one.modifier)) for one in parts}


def _known(modifier: str) -> str:
    return "" if modifier == "N/A" else modifier


def _hand_version(parts: Iterable[Parameter]) -> str:
    """Rises with every write, and no other values have it."""
    versions = {one.name: one.version for one in parts}
    digest = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()
    return f"h{sum(versions.values())}-{digest[:6]}"
