from everloop.pages import html_page


def test_a_page_without_charts_brings_no_scripts_for_them():
    page = html_page("a & b", "<p>nothing is drawn</p>", {})
    assert "<script" not in page
    assert "<title>a &amp; b</title>" in page
    assert len(page) < 5_000
