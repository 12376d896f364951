"""The charts' scripts are made once for a user, and what is kept of them is used only as it was written."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everloop.pages import chart_scripts, prepare_scripts

module = importlib.import_module("everloop.pages.chart_scripts")


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """The scripts as a process finds them that begins now, at home in `tmp_path`."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def forget() -> None:
        for remembered in (chart_scripts, module._kept, module._making):
            remembered.cache_clear()

    def found() -> str:
        forget()
        prepare_scripts()
        return chart_scripts()

    yield found
    forget()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that are made at once."""
    monkeypatch.setattr(module, "_MAKE", "print('draw()')")


def kept(place: Path) -> Path:
    (path,) = (place / ".cache" / "everloop").iterdir()
    return path


def test_they_are_made_once(anew: Callable[[], str], tmp_path: Path) -> None:
    made = anew()
    assert "vegaEmbed" in made
    assert "</script>" not in made
    written = kept(tmp_path).stat().st_mtime_ns
    assert anew() == made
    assert module._making.cache_info().currsize == 0  # no process was begun
    assert kept(tmp_path).stat().st_mtime_ns == written


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("left", [b"", b"alert(1)", b"\xff\xfe", None], ids=["emptied", "other", "garbage", "cut"])
def test_what_is_not_as_it_was_written_is_made_anew(
    anew: Callable[[], str], tmp_path: Path, left: bytes | None
) -> None:
    made = anew()
    path = kept(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if left is None else left)
    assert anew() == made
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("small")
def test_without_a_place_to_keep_them_they_are_made_each_time(
    anew: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = anew()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert anew() == made
    monkeypatch.setattr(Path, "home", _nowhere)
    assert anew() == made


def _nowhere() -> Path:
    raise RuntimeError("Could not determine home directory.")
