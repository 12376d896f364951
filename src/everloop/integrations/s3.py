"""Artefacts in S3, or in what speaks as S3 does: conditional puts, AWS's usual chain of credentials."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from everloop.errors import IntegrationError
from everloop.storage import Entry, check_key

__all__ = ["S3Storage", "open_s3"]

T = TypeVar("T")

_ADDRESS: Final = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*))?")
_ABSENT: Final = {"NoSuchKey", "404", "NotFound"}
_TAKEN: Final = {"PreconditionFailed", "412"}
_DENIED: Final = {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
# After an answer of 500, 503 or none it is asked again, each time later; after 409 too: another put of the same object
# goes on, and which of them is first is not known yet. AWS's library asks some of it again by itself, but on a budget
# that a store that fails half the time soon uses up.
_ATTEMPTS: Final = 14
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


def open_s3(address: str) -> S3Storage:
    """The storage of `s3://bucket/prefix`. Nothing is reached yet. Raises IntegrationError."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise IntegrationError(f"{address!r} is no place in S3; write s3://BUCKET or s3://BUCKET/PREFIX")
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise IntegrationError(f"{address} needs boto3: pip install 'everloop[aws]'") from error
    return S3Storage(boto3.session.Session(), bucket=match["bucket"], prefix=(match["prefix"] or "").strip("/"))


class S3Storage:
    """Objects of a bucket, below a prefix. Safe to share between threads."""

    def __init__(self, session: Any, *, bucket: str, prefix: str) -> None:
        from botocore.config import Config

        self._session = session
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        retries = {"mode": "standard", "total_max_attempts": 3}
        config = Config(retries=retries, connect_timeout=5, read_timeout=60, max_pool_connections=32)
        with self._translated("be reached"):
            self._client = session.client("s3", config=config)

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def open(self, key: str) -> AbstractContextManager[BinaryIO] | None:
        """The object's body; None where there is none."""
        place = {"Bucket": self._bucket, "Key": self._key(key)}
        with self._translated("be read"):
            try:
                body = _patiently(lambda: self._client.get_object(**place)["Body"])
            except self._client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
        return io.BufferedReader(_Body(self, body))

    def write(self, key: str, data: bytes | Path) -> None:
        """Put the object; a large file in parts, which S3 shows only once all are there."""
        place = self._key(key)
        with self._translated("be written"):
            if isinstance(data, Path):
                _patiently(lambda: self._client.upload_file(str(data), self._bucket, place))
            else:
                _patiently(lambda: self._client.put_object(Bucket=self._bucket, Key=place, Body=data))

    def create(self, key: str, data: bytes) -> bool:
        """Put the object on the condition that there is none.

        A put whose answer was lost is asked again and then meets itself; so what is there is compared.
        """
        place = {"Bucket": self._bucket, "Key": self._key(key)}
        with self._translated("be written"):
            try:
                _patiently(lambda: self._client.put_object(**place, Body=data, IfNoneMatch="*"))
            except self._client.exceptions.ClientError as error:
                if _code(error) not in _TAKEN:
                    raise
            else:
                return True
        found = self.open(key)
        if found is None:
            return False
        with found as stream:
            return stream.read() == data

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects below, page by page."""
        asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        while asked:
            with self._translated("be listed"):
                page = _patiently(partial(self._client.list_objects_v2, **asked))
            for item in page.get("Contents", ()):
                yield Entry(key=item["Key"].removeprefix(self._prefix), size=item["Size"])
            following = page.get("NextContinuationToken")
            asked = asked | {"ContinuationToken": following} if following else {}

    def remove(self, key: str) -> None:
        """Delete the object."""
        with self._translated("be written"):
            place = {"Bucket": self._bucket, "Key": self._key(key)}
            _patiently(lambda: self._client.delete_object(**place))

    def reader_options(self) -> Mapping[str, str]:
        """The session's keys, region and endpoint under the names that Polars and Delta use."""
        with self._translated("be reached"):
            found = self._session.get_credentials()
            keys = None if found is None else found.get_frozen_credentials()
        options = {"aws_region": self._client.meta.region_name or "us-east-1", "aws_conditional_put": "etag"}
        if keys is not None:
            options |= {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
            options |= {"aws_session_token": keys.token} if keys.token else {}
        endpoint = self._client.meta.endpoint_url
        if not endpoint.endswith(".amazonaws.com"):
            options |= {"aws_endpoint_url": endpoint, "aws_virtual_hosted_style_request": "false"}
        return options | ({"aws_allow_http": "true"} if endpoint.startswith("http://") else {})

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """What AWS's library raises, as an error of the tree: what, why, what to do."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise IntegrationError(
                f"{self.address} cannot {doing} without access keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE, or give the machine a role"
            ) from error
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            answer = _answer(error)
            if answer is not None:
                raise IntegrationError(f"{self.address} cannot {doing}: {_told(answer)}") from error
            said = " ".join(str(error).split())
            raise IntegrationError(f"{self.address} cannot {doing}: {said:.200}; try again later") from error


class _Body(io.RawIOBase):
    """A body that is being read; what breaks it off is told as everything else."""

    def __init__(self, storage: S3Storage, body: Any) -> None:
        self._storage = storage
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._storage._translated("be read"):
            data = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


def _patiently(act: Callable[[], T]) -> T:
    """What `act` gives; again, after a pause, while the store says that it has trouble or does not answer."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as Unreached

    pause = threading.Event()
    for attempt in range(1, _ATTEMPTS):
        try:
            return act()
        except (ClientError, Unreached, HTTPClientError, S3UploadFailedError) as error:
            answer = _answer(error)
            if answer is not None and not _is_trouble(answer):
                raise
        pause.wait(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt))
    return act()


def _answer(error: BaseException) -> Any:
    """The store's own answer, which the upload of a file wraps; None where there was none."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError

    if isinstance(error, S3UploadFailedError):
        error = error.__cause__ or error.__context__ or error
    return error if isinstance(error, ClientError) else None


def _is_trouble(error: Any) -> bool:
    """Whether the store, or what else goes on there, and not the request, is what went wrong."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return bool(status >= 500 or status in (409, 429))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _told(error: Any) -> str:
    code, said = _code(error), error.response.get("Error", {}).get("Message", "")
    if code in ("NoSuchBucket",):
        return "there is no such bucket; make it, or mend `artifacts` in everloop.yaml"
    if code in _DENIED:
        return f"{code}; check the access keys and what they may do (get, put, list and delete below the prefix)"
    return f"{code}: {said}; it was tried {_ATTEMPTS} times, try again later"
