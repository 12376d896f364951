"""Who hears of what, as everloop.yaml says it; no sentence repeats an address."""

from __future__ import annotations

import pytest

from everloop.errors import ConfigurationError
from everloop.project import NOTICES, Project


def project(tmp_path, text, **environment):
    (tmp_path / "everloop.yaml").write_text(text)
    return Project.open(tmp_path, environment=environment)


def heard(found):
    return {channel.name: (channel.address, channel.kinds) for channel in found.settings.channels}


def test_addresses_alone_hear_of_alerts(tmp_path):
    for text in ("notify: slack://a", "notify: [slack://a]", "notify: {alert: slack://a}"):
        assert heard(project(tmp_path, text)) == {"slack-1": ("slack://a", ("alert",))}
    for text in ("{}", "notify: []", "notify: null", "notify: {}"):
        assert heard(project(tmp_path, text)) == {}


def test_each_kind_has_its_own_and_an_address_is_one_channel(tmp_path):
    text = "notify: {alert: [slack://a, slack://b], rolled back: slack://b, rolled_back: mailto://c, all: json://d}"
    assert heard(project(tmp_path, text.replace("rolled_back: mailto://c, ", ""))) == {
        "slack-1": ("slack://a", ("alert",)),
        "slack-2": ("slack://b", ("alert", "rolled back")),
        "json-1": ("json://d", tuple(NOTICES)),
    }
    assert "mailto-1" in heard(project(tmp_path, text.replace("rolled back: slack://b, ", "")))


def test_a_variable_names_a_kind_too(tmp_path):
    found = project(tmp_path, "notify: {failed: slack://a}", EVERLOOP_NOTIFY__ROLLED_BACK="slack://b")
    assert heard(found) == {"slack-1": ("slack://a", ("failed",)), "slack-2": ("slack://b", ("rolled back",))}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("notify: {alrt: slack://s3cr3t}", "no kind of notice 'alrt'; did you mean 'alert'"),
        ("notify: {holidays: slack://s3cr3t}", "there are alert, alert closed, refused"),
        ("notify: [slack://a, s3cr3t]", "address 2 of notify has no scheme such as slack://"),
        ("notify: {failed: [s3cr3t]}", "address 1 of failed has no scheme"),
        ("notify: {failed: {slack: s3cr3t}}", "failed holds no addresses; write slack://…"),
        ("notify: 5", "notify holds no addresses"),
    ],
)
def test_a_mistake_is_told_by_its_place(tmp_path, text, says):
    with pytest.raises(ConfigurationError) as caught:
        project(tmp_path, text)
    (mistake,) = caught.value.mistakes
    assert says in mistake
    assert "s3cr3t" not in mistake
