"""Parameters below a prefix: read in as few requests as AWS allows, each with the version that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from everloop.errors import UsageError
from everloop.integrations.ssm.connection import error_code

__all__ = ["HYPERPARAMETERS", "NAMES", "REVISION", "Parameter", "Parameters"]

REVISION: Final = "revision"
HYPERPARAMETERS: Final = "hyperparameters/"
NAMES: Final = ("learner", "algorithm", "objective", "features", "calibration", "quantiles", "seed", "reason")
"""What is read besides hyperparameters; other parameters below the prefix are other people's, and are not."""

_AT_ONCE: Final = 10
_LONGEST_BYTES: Final = 8192
_ABSENT: Final = ("ParameterNotFound", "ParameterVersionNotFound")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One version of one parameter. name: below the prefix. modifier: as AWS knows them; empty where not asked for."""

    name: str
    value: str
    version: int
    at: datetime
    modifier: str = ""
    labels: tuple[str, ...] = ()


class Parameters:
    """The parameters of one prefix. client: boto3's. Methods raise what boto3 does."""

    def __init__(self, client: Any, prefix: str, *, secure: bool) -> None:
        self._client = client
        self._prefix = prefix
        self._secure = secure
        self.answered_at = datetime.fromtimestamp(0, tz=UTC)
        """AWS's own time when it answered last, to a second."""

    def now(self) -> dict[str, Parameter]:
        """All of ours as they are now, the revision too; each request shows one moment, several do not."""
        found = self.asked([*NAMES, REVISION])
        pages = self._client.get_paginator("get_parameters_by_path").paginate(
            Path=f"{self._prefix}/{HYPERPARAMETERS.rstrip('/')}", Recursive=False, WithDecryption=True
        )
        for page in pages:
            found |= {one.name: one for one in map(self._parameter, page["Parameters"])}
        return found

    def asked(self, names: Iterable[str]) -> dict[str, Parameter]:
        """Those of `names` that there are; `NAME:3` asks for a version, `NAME:production` for a label."""
        found: dict[str, Parameter] = {}
        asked = [f"{self._prefix}/{name}" for name in names]
        for at in range(0, len(asked), _AT_ONCE):
            answer = self._client.get_parameters(Names=asked[at : at + _AT_ONCE], WithDecryption=True)
            found |= {one.name: one for one in map(self._parameter, answer["Parameters"])}
        return found

    def one(self, name: str) -> Parameter | None:
        """One parameter, also `NAME:3` or `NAME:production`; None where there is none."""
        try:
            answer = self._client.get_parameter(Name=f"{self._prefix}/{name}", WithDecryption=True)
        except Exception as error:
            if error_code(error) in _ABSENT:
                return None
            raise
        self.answered_at = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return self._parameter(answer["Parameter"])

    def history(self, name: str) -> list[Parameter]:
        """Every version that AWS still has, oldest first, with who wrote it; none where there is no such parameter."""
        pages = self._client.get_paginator("get_parameter_history").paginate(
            Name=f"{self._prefix}/{name}", WithDecryption=True
        )
        try:
            found = [self._parameter(one) for page in pages for one in page["Parameters"]]
        except Exception as error:
            if error_code(error) in _ABSENT:
                return []
            raise
        return sorted(found, key=lambda one: one.version)

    def put(self, name: str, value: str, *, there: bool) -> int:
        """Write a value; gives its version. there: whether the parameter exists, and so keeps its type."""
        size = len(value.encode())
        if size > _LONGEST_BYTES:
            raise UsageError(
                f"{self._prefix}/{name} would hold {size:,} bytes, and SSM takes {_LONGEST_BYTES:,}; "
                "keep specs of so many features in files or in MLflow"
            )
        kind = {} if there else {"Type": "SecureString" if self._secure else "String"}
        # a value above 4 KB makes the parameter an advanced one, and only then
        answer = self._client.put_parameter(
            Name=f"{self._prefix}/{name}", Value=value, Overwrite=True, Tier="Intelligent-Tiering", **kind
        )
        return int(answer["Version"])

    def label(self, name: str, version: int, label: str) -> None:
        """Move the label to this version. Raises UsageError for one that AWS does not take."""
        answer = self._client.label_parameter_version(
            Name=f"{self._prefix}/{name}", ParameterVersion=version, Labels=[label]
        )
        if answer.get("InvalidLabels"):
            raise UsageError(f"SSM takes no label {label!r}; letters, digits and _.- are allowed, and no digit first")

    def _parameter(self, said: Mapping[str, Any]) -> Parameter:
        return Parameter(
            name=str(said["Name"]).removeprefix(f"{self._prefix}/"),
            value=said["Value"],
            version=int(said["Version"]),
            at=said["LastModifiedDate"],
            modifier=said.get("LastModifiedUser", ""),
            labels=tuple(said.get("Labels", ())),
        )
