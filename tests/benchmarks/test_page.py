"""What scripts write on the pages of the documentation."""

import math

import pytest


@pytest.fixture(scope="module")
def page(script):
    return script("page")


def test_only_the_text_between_the_markers_of_a_script_is_replaced(page):
    other = f"{page.marker('other.py')}\nkept\n{page.END}"
    text = f"before\n{other}\n{page.marker('a.py')}\nold\n{page.END}\nafter\n"
    new = page.replace_tables(text, "new", "a.py")
    made = f"{page.marker('a.py')}\n\nnew\n\n{page.END}"
    assert new == f"before\n{other}\n{made}\nafter\n"
    assert page.replace_tables(new, "new", "a.py") == new


def test_section_of_a_csv_is_named_after_it(page, tmp_path):
    path = tmp_path / "page.md"
    names = [page.made_from("a.py", tmp_path / csv) for csv in ("new.csv", "old.csv")]
    path.write_text("".join(f"{page.marker(name)}\n{page.END}\n" for name in names))
    page.rewrite(path, "new table", names[0])
    page.rewrite(path, "old table", names[1])
    new, old = path.read_text().split(page.marker(names[1]))
    assert "new table" in new
    assert "old table" in old


def test_page_without_markers_is_refused(page):
    with pytest.raises(ValueError, match="must hold the lines"):
        page.replace_tables("no markers", "new", "a.py")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "+0.2"), (-0.31, "-0.3"), (-101, "below -100"), (math.nan, "")],
)
def test_points_have_a_sign(page, value, text):
    assert page.signed(value) == text


def test_page_holds_the_tables_of_the_committed_runs(page, script):
    results = script("results")
    make_tables, rank = script("make_tables"), script("rank")
    same_batches = results.read(results.SAME_BATCHES)
    made = {
        "robustness.py": script("robustness").page_table(results.read(results.CSV)),
        "budget.py": script("budget").page_table(same_batches),
        "costs.py": script("costs").page_table(),
    }
    for path in (results.CSV, results.SAME_BATCHES):
        suite = results.read(path)
        made[page.made_from(make_tables.SCRIPT, path)] = make_tables.page_tables(suite)
        made[page.made_from(rank.SCRIPT, path)] = rank.page_tables(suite)
    for name, tables in made.items():
        text = page.page_with(name).read_text(encoding="utf-8")
        assert page.replace_tables(text, tables, name) == text, name
    variants = results.read(make_tables.VARIANTS_CSV)
    table = make_tables.variants_table(same_batches, variants, "marthe")
    text = make_tables.VARIANTS_PAGE.read_text(encoding="utf-8")
    assert page.replace_tables(text, table, make_tables.SCRIPT) == text
