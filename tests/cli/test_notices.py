"""`everloop notice`: who hears of what, whether they were reached, and a test of them; and what `doctor` says of it."""

from __future__ import annotations

from pathlib import Path

from ..control.receiver import SECRET, receiver
from .terminal import everloop


def test_channels_are_listed_tried_and_told_by_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "everloop.yaml").write_text("{}\n")
    nobody = everloop("notice", "list", cwd=tmp_path)
    assert (nobody.code, nobody.out) == (0, "")
    assert "nobody is told of anything" in nobody.err
    with receiver() as well, receiver() as dead:
        dead.stop()
        (tmp_path / "everloop.yaml").write_text(f"notify: {{alert: '{well.address}', all: '{dead.address}'}}\n")
        assert [one["reached"] for one in everloop("notice", "list", "--json", cwd=tmp_path).json] == [None, None]
        tried = everloop("notice", "test", cwd=tmp_path)
        assert tried.code == 1
        assert max(map(len, tried.out.splitlines())) <= 80
        assert well.titles() == [f"everloop: {tmp_path.name}: a test"]
        listed = everloop("notice", "list", "--json", cwd=tmp_path)
        first, second = listed.json
        assert (first["channel"], first["reached"], first["kinds"]) == ("json-1", True, ["alert"])
        assert (second["channel"], second["reached"], second["waiting"]) == ("json-2", False, 0)
        assert second["problem"] == "it could not be reached, or gave no answer in time"
        doctor = everloop("doctor", "--json", cwd=tmp_path)
        found = {one["question"]: one["outcome"] for one in doctor.json}
        assert (found["channel json-1"], found["channel json-2"]) == ("ok", "problem")
        dead.start()
        again = everloop("notice", "test", "--json", cwd=tmp_path)
        assert (again.code, [one["reached"] for one in again.json]) == (0, [True, True])
    for ended in (tried, listed, doctor, again):
        assert SECRET not in ended.out + ended.err
