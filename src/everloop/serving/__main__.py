"""`python -m everloop.serving --project DIR [--host H] [--port P] [--workers N]`."""

from __future__ import annotations

import os

# Read when Polars loads, which anything below may do.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import logging
import sys
from pathlib import Path


def main() -> int:
    """Run the endpoint; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m everloop.serving", description="Answer predictions over HTTP.")
    parser.add_argument("--project", type=Path, default=Path(), help="the project's folder, or one in it")
    parser.add_argument("--host", help="where to listen; everloop.yaml says unless given")
    parser.add_argument("--port", type=int, help="0 takes a free one")
    parser.add_argument("--workers", type=int, help="processes that answer")
    parser.add_argument("--insecure", action="store_true", help="ask no caller for a key, wherever it listens")
    parser.add_argument("--tls-cert", type=Path, help="PEM file of the certificate to answer https with")
    parser.add_argument("--tls-key", type=Path, help="PEM file of its key")
    parser.add_argument("--of", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--counts", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # that it starts and ends is said by who started it

    from everloop.errors import EverloopError
    from everloop.project import Project
    from everloop.serving import run

    try:
        project = Project.find(given.project, flags=_flags(given))
        run(
            project,
            host=given.host,
            port=given.port,
            workers=given.workers,
            fd=given.fd,
            of=given.of,
            place=given.place,
            counts=given.counts,
            parent=given.parent,
        )
    except EverloopError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _flags(given: argparse.Namespace) -> dict[str, str]:
    """What wins over everloop.yaml. A path is one of here, in the file it is the project's."""
    flags = {"endpoint.keys": "open"} if given.insecure else {}
    for name, path in (("certificate", given.tls_cert), ("key", given.tls_key)):
        if path is not None:
            flags[f"endpoint.tls.{name}"] = str(path.absolute())
    return flags


if __name__ == "__main__":
    sys.exit(main())
