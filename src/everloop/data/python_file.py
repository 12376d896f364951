"""A Python file that people write beside model.yaml, run as it is now; its mistakes are told with their line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from everloop.errors import EverloopError

__all__ = ["mistake_in", "run_file"]

Refused = Callable[[str], EverloopError]
"""Makes the error of a sentence."""


class _FreshLoader(SourceFileLoader):
    """Reads the source each time and writes no cache beside it: a person may save twice within a second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def run_file(path: Path, *, shown: str, refused: Refused) -> ModuleType:
    """The module that the file makes. Raises what `refused` makes of `shown:line: sentence` where it cannot be run."""
    name = f"_everloop_{path.stem}_{abs(hash(path.resolve()))}"
    spec = spec_from_file_location(name, path, loader=_FreshLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise refused(f"{shown}:{error.lineno}: {error.msg}") from error
    except Exception as error:  # anything may be raised by a person's own file; it becomes one sentence
        raise refused(mistake_in(path, error, shown=shown)) from error
    finally:
        del sys.modules[name]
    return module


def mistake_in(path: Path, error: Exception, *, shown: str) -> str:
    """`shown:line: what it raised`, by the last line of the file that led to the error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{shown}:{lines[-1]}" if lines else shown
    first = next(iter(str(error).splitlines()), "")
    return f"{where}: {first}" if isinstance(error, EverloopError) else f"{where}: {type(error).__name__}: {first}"
