"""A project is found, opened, and held by one process; settings come from flag, variable and file in that order."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from everloop.clock import SimulatedClock, SystemClock
from everloop.errors import AlreadyRunning, ConfigurationError, NotFound, ProjectNotFound
from everloop.project import Project, ProjectLock, parse_moment

MODEL = "data: {source: a.csv, time: t, target: y}\nobjective: f1\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "everloop.yaml").write_text("endpoint: {port: 9000}\nnotify: slack://x\n")
    (tmp_path / "fraud").mkdir()
    (tmp_path / "fraud" / "model.yaml").write_text(MODEL)
    return tmp_path


def opened(root, flags=None, **environment):
    return Project.open(root, environment=environment, flags=flags)


def refused(root, **environment):
    with pytest.raises(ConfigurationError) as caught:
        opened(root, **environment)
    return caught.value.mistakes


def test_a_project_is_found_from_below_and_leaves_nothing(root):
    project = Project.find(root / "fraud", environment={})
    assert project.root == root
    assert project.model().name == "fraud"
    assert project.settings.notify == {"alert": ("slack://x",)}
    assert project.settings.control.port == 8081
    assert not (root / ".everloop").exists()
    assert project.paths.ledger_db == root / ".everloop" / "ledger.db"
    assert project.ledger_url == f"sqlite:///{root}/.everloop/ledger.db"
    assert project.state.is_dir()
    assert (project.state / ".gitignore").read_text() == "*\n"


def test_where_there_is_none(tmp_path):
    with pytest.raises(ProjectNotFound, match="everloop init"):
        Project.find(tmp_path, environment={})
    with pytest.raises(ProjectNotFound, match="everloop init"):
        opened(tmp_path)


def test_an_empty_file_is_a_project(root):
    (root / "everloop.yaml").write_text("# nothing\n")
    assert opened(root).settings.endpoint.port == 8080


def test_flag_over_variable_over_file(root):
    assert opened(root).settings.endpoint.port == 9000
    assert opened(root, EVERLOOP_ENDPOINT__PORT="9001").settings.endpoint.port == 9001
    both = opened(root, flags={"endpoint.port": 0}, EVERLOOP_ENDPOINT__PORT="9001", EVERLOOP_ENDPOINT__HOST="::1")
    assert (both.settings.endpoint.port, both.settings.endpoint.host) == (0, "::1")


def test_variables_of_other_kinds(root):
    settings = opened(
        root,
        EVERLOOP_NOTIFY="[slack://a, mailto://b]",
        EVERLOOP_KEY="evl_alice_k_s",
        EVERLOOP_LEDGER="postgresql://host/db",
        EVERLOOP_MLFLOW="",
        EVERLOOP_TEST_DIE_AT="commit",
        PATH="/bin",
    ).settings
    assert settings.notify == {"alert": ("slack://a", "mailto://b")}
    assert settings.roles == {}
    assert settings.ledger == "postgresql://host/db"
    assert settings.mlflow is None


def test_roles_are_four_and_are_read_from_the_file_alone(root):
    (root / "everloop.yaml").write_text("roles: {approver: alice, viewer: ['*']}\nsigners: .signers\n")
    assert opened(root).settings.roles == {"approver": ("alice",), "viewer": ("*",)}
    for name in ("EVERLOOP_ROLES", "EVERLOOP_ROLES__APPROVER", "EVERLOOP_SIGNERS"):
        (mistake,) = refused(root, **{name: "{}"})
        assert mistake.startswith(f"{name}: ")
        assert "everloop.yaml alone" in mistake
    for text, told in (
        ("{aprover: [alice]}", "there is no role 'aprover'; did you mean 'approver'?"),
        ("{approve: [alice]}", "did you mean 'approver'?"),
        ("{owner: [alice]}", "(the roles are viewer, scientist, approver, operator)"),
        ("{approver: ['']}", "every name is a text that is not empty"),
        ("{approver: [7]}", "every name is a text"),
        ("[alice]", "mapping"),
    ):
        (root / "everloop.yaml").write_text(f"roles: {text}\n")
        (mistake,) = refused(root)
        assert mistake.startswith("everloop.yaml:1: roles: ")
        assert told in mistake
    (root / "everloop.yaml").write_text("{}\n")


def test_a_moment_is_iso_or_how_long_ago():
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    for text, at in (
        ("2026-05-04", datetime(2026, 5, 4, tzinfo=UTC)),
        ("2026-05-04T12:00+02:00", datetime(2026, 5, 4, 10, tzinfo=UTC)),
        ("2026-05-04 10:00:30Z", datetime(2026, 5, 4, 10, 0, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 4, 27, 12, tzinfo=UTC)),
        ("1d 12h", datetime(2026, 5, 3, tzinfo=UTC)),
    ):
        assert parse_moment(text, now=now) == at
    for text in ("", "yesterday", "2026-13-01", "-7d", "9999999y"):
        with pytest.raises(ValueError, match="is no time"):
            parse_moment(text, now=now)


def test_mistakes_of_all_files_and_variables_at_once(root):
    (root / "everloop.yaml").write_text("endpont: {port: 1}\nendpoint:\n  port: 99999\nledger: mysql://x\n")
    (root / "fraud" / "model.yaml").write_text(MODEL + "gates: [recal >= 0.7]\n")
    mistakes = refused(root, EVERLOOP_ENDPOINT__WORKERS="0", EVERLOOP_ENDPOINT__PROT="1", EVERLOOP_ENDPIONT__HOST="x")
    assert {mistake.split(": ")[0] for mistake in mistakes} == {
        "EVERLOOP_ENDPIONT__HOST",
        "EVERLOOP_ENDPOINT__PROT",
        "EVERLOOP_ENDPOINT__WORKERS",
        "everloop.yaml:1",
        "everloop.yaml:3",
        "everloop.yaml:4",
        "fraud/model.yaml:3",
    }
    told = "\n".join(mistakes)
    assert "no setting has this name; did you mean 'EVERLOOP_ENDPOINT__PORT'?" in told
    assert "no setting has this name; did you mean 'EVERLOOP_ENDPOINT__HOST'?" in told
    assert "endpont: unknown key; did you mean 'endpoint'?" in told
    assert "99999 is out of range (allowed: ≤ 65535)" in told


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "endpoint: 5\n", "just words\n"])
def test_a_broken_file_is_told(root, text):
    (root / "everloop.yaml").write_text(text)
    assert refused(root)[0].startswith("everloop.yaml:")


def test_a_file_that_is_no_text_is_told(root):
    (root / "fraud" / "model.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is no text in UTF-8" in refused(root)[0]


def test_models_by_name(root):
    assert opened(root).model("fraud").folder == root / "fraud"
    with pytest.raises(NotFound, match="did you mean 'fraud'"):
        opened(root).model("frod")
    (root / "churn").mkdir()
    (root / "churn" / "model.yaml").write_text(MODEL)
    with pytest.raises(NotFound, match="say which: churn, fraud"):
        opened(root).model()


def test_a_project_without_a_model(root):
    (root / "fraud" / "model.yaml").unlink()
    with pytest.raises(NotFound, match=r"holds a model\.yaml"):
        opened(root).model()


def test_a_clock_may_be_anothers(root, tmp_path):
    assert isinstance(opened(root).clock(), SystemClock)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    SimulatedClock(at, tmp_path / "clock")
    assert opened(root, EVERLOOP_CLOCK=f"shared:{tmp_path}/clock").clock().now() == at
    assert "cannot be opened" in refused(root, EVERLOOP_CLOCK="shared:/nowhere")[0]
    assert "is not a clock" in refused(root, EVERLOOP_CLOCK="wall")[0]


def test_a_second_holder_is_told_the_first(root):
    path = opened(root).paths.lock
    with ProjectLock(path), pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"), ProjectLock(path):
        pass
    with ProjectLock(path):
        pass


def test_a_dead_process_holds_nothing(root):
    path = opened(root).paths.lock
    script = (
        "import sys, pathlib\nfrom everloop.project import ProjectLock\n"
        "with ProjectLock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(AlreadyRunning, match=f"process {child.pid}"), ProjectLock(path):
        pass
    child.kill()
    child.communicate()
    with ProjectLock(path):
        pass


def test_opening_loads_no_heavy_library():
    script = (
        "import sys\nimport everloop.project\n"
        "print([name for name in ('polars', 'numpy', 'cronsim', 'sqlalchemy', 'dbos') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_artefacts_lie_where_the_settings_say(tmp_path):
    (tmp_path / "everloop.yaml").write_text("artifacts: ../shared\n")
    shared = Project.open(tmp_path, environment={})
    assert shared.paths.bundles == tmp_path / ".." / "shared"
    assert shared.paths.runs.parent == shared.paths.traffic.parent == shared.paths.bundles
    (tmp_path / "everloop.yaml").write_text("artifacts: s3://bucket/fraud\n")
    elsewhere = Project.open(tmp_path, environment={})
    assert elsewhere.remote_artifacts == "s3://bucket/fraud"
    assert elsewhere.paths.bundles == tmp_path / ".everloop" / "bundles"  # the copies of this machine
    (tmp_path / "everloop.yaml").write_text("artifacts: s3://bucket/a b\n")
    with pytest.raises(ConfigurationError, match=r"everloop\.yaml:1: artifacts: .* is no place for artefacts"):
        Project.open(tmp_path, environment={})
