"""A notebook as a file that people go on from: its cells as text, the same bytes each time, and run where asked."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

__all__ = ["Cell", "executed", "notebook_text"]

_CELL_LIMIT_S: Final = 120.0
_START_LIMIT_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell's kind and text."""

    kind: Literal["markdown", "code"]
    text: str


def notebook_text(cells: Sequence[Cell]) -> str:
    """The notebook in format 4.5, not executed; the same cells give the same text. It needs no library."""
    notebook = {
        "cells": [_cell(cell, f"cell-{place}") for place, cell in enumerate(cells)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _cell(cell: Cell, name: str) -> dict[str, object]:
    made = {"cell_type": cell.kind, "id": name, "metadata": {}, "source": cell.text.splitlines(keepends=True)}
    return made | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {})


def executed(text: str, *, folder: Path, cell_limit_s: float = _CELL_LIMIT_S) -> tuple[str, str | None]:
    """The notebook with its results, run in `folder` by this Python; or as it was, with a sentence why not.

    Whatever a kernel, its sockets or a cell may do, it ends here: a notebook stands without its results.
    """
    try:
        return _run(text, folder, cell_limit_s), None
    except ImportError as error:
        return text, f"the notebook was not executed: {error.name} is not installed; the extra 'notebook' brings it"
    except Exception as error:  # a kernel's own errors come in any class: zmq's, asyncio's, the cell's
        said = str(error).strip().splitlines()
        return text, f"the notebook was not executed: {type(error).__name__}: {said[-1] if said else 'no reason given'}"


def _run(text: str, folder: Path, cell_limit_s: float) -> str:
    from nbclient import NotebookClient

    nbformat: Any = import_module("nbformat")  # its functions carry no types
    notebook = nbformat.reads(text, as_version=4)
    with tempfile.TemporaryDirectory(prefix="everloop-kernel-") as scratch:
        client = NotebookClient(
            notebook,
            km=_kernel(Path(scratch)),
            timeout=math.ceil(cell_limit_s),
            startup_timeout=_START_LIMIT_S,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
        )
        client.execute()
    found: str = nbformat.writes(notebook)
    return found


def _kernel(scratch: Path) -> Any:
    """A kernel of this very Python, whether or not one is registered; it leaves nothing in the user's home."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", f"--ipython-dir={scratch}"]
    argv += ["--HistoryManager.enabled=False", "--log-level=ERROR"]

    class Ours(KernelSpecManager):
        """Knows this one kernel."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            """The kernel, whatever it is called."""
            return KernelSpec(argv=argv, display_name=kernel_name, language="python")

    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=Ours(),
        connection_file=str(scratch / "kernel.json"),
        transport="ipc" if os.name == "posix" else "tcp",  # no port that others on the machine could reach
    )
