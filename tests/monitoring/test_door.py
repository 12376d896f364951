from everloop import monitoring


def test_the_door_is_sorted_and_whole() -> None:
    assert monitoring.__all__ == sorted(monitoring.__all__, key=lambda name: (not name.isupper(), name))
    for name in monitoring.__all__:
        assert getattr(monitoring, name).__doc__ or name.isupper()
