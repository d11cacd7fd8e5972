from keras_lr import _html


def test_pieces_are_escaped_and_empty_for_nothing():
    assert _html.paragraph("a < b") == "<p>a &lt; b</p>"
    assert _html.code("x & y") == "<pre>x &amp; y</pre>"
    assert _html.paragraph("") == _html.code("") == ""


def test_table_has_a_header_and_rows():
    html = _html.table(["<a>"], [["1"], ["2"]])
    assert html == (
        "<table><thead><tr><th>&lt;a&gt;</th></tr></thead>"
        "<tbody><tr><td>1</td></tr><tr><td>2</td></tr></tbody></table>"
    )


def test_folded_content_has_a_title():
    html = _html.folded("more & more", "<p></p>")
    assert html == ("<details><summary>more &amp; more</summary><p></p></details>")
