"""The only module that imports boto3: a region becomes a client, and AWS's errors become ours, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from everloop.errors import IntegrationError

__all__ = ["connect", "error_code", "said"]

# A throttled or failed request is repeated by the library, with growing pauses; what lasts is the caller's to repeat.
_RETRIES: Final = {"mode": "standard", "total_max_attempts": 4}
_CONNECT_TIMEOUT_S: Final = 5
_READ_TIMEOUT_S: Final = 10
_LONGEST_SENTENCE: Final = 300
_WHAT_TO_DO: Final = {
    "AccessDeniedException": "; give this user ssm:GetParameter*, and ssm:PutParameter and "
    "ssm:LabelParameterVersion to put",
    "ParameterMaxVersionLimitExceeded": "; the oldest version has a label: move that label to a newer one",
}


def connect(region: str | None) -> Any:
    """A client of SSM. Credentials, and an address of its own such as a test's, are AWS's usual settings.

    Raises IntegrationError where boto3 is missing.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise IntegrationError(
            f"`specs: ssm:/…` needs boto3, which cannot be imported ({error}); pip install 'everloop[aws]'"
        ) from error
    config = Config(retries=_RETRIES, connect_timeout=_CONNECT_TIMEOUT_S, read_timeout=_READ_TIMEOUT_S)
    return boto3.client("ssm", region_name=region, config=config)


@contextmanager
def said(address: str) -> Iterator[None]:
    """What boto3 and what is below it raise, as one IntegrationError with a sentence."""
    try:
        yield
    except IntegrationError:
        raise
    except Exception as error:
        if not _is_theirs(error):
            raise
        raise IntegrationError(_sentence(address, error)) from error


def error_code(error: BaseException) -> str:
    """AWS's code of a refusal, such as `ParameterNotFound`; empty for what is none."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _is_theirs(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] in ("boto3", "botocore") for kind in type(error).__mro__)


def _sentence(address: str, error: Exception) -> str:
    code = error_code(error)
    text = " ".join(str(error).split())
    cut = text if len(text) <= _LONGEST_SENTENCE else f"{text[: _LONGEST_SENTENCE - 1]}…"
    return f"AWS SSM ({address}) says: {cut.rstrip('.')}{_WHAT_TO_DO.get(code, '')}"
