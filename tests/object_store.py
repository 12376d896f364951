"""An object store on this machine: S3's own requests over HTTP, answered by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer

__all__ = ["KEYS", "ObjectStore", "aws", "object_store"]

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """A store with one bucket. url: its address; options: what a reader needs, with the keys."""

    client: Any
    bucket: str
    url: str

    @property
    def options(self) -> dict[str, str]:
        return KEYS | {"aws_region": "us-east-1", "aws_endpoint_url": self.url, "aws_allow_http": "true"}

    @property
    def variables(self) -> dict[str, str]:
        """The same as AWS's usual variables."""
        return {name.upper(): value for name, value in self.options.items()}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)


@contextmanager
def aws(*, port: int = 0, kept: bool = False) -> Iterator[str]:
    """AWS's requests answered at this address, until the block ends; kept: with what an earlier one held."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        if not kept:  # else what an earlier server held is kept by the process
            httpx.post(f"{url}/moto-api/reset").raise_for_status()
        yield url
    finally:
        server.stop()


@contextmanager
def object_store(bucket: str) -> Iterator[ObjectStore]:
    """An empty store, until the block ends."""
    with aws() as url:
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
        client.create_bucket(Bucket=bucket)
        yield ObjectStore(client=client, bucket=bucket, url=url)
