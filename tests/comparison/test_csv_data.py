import sys

import numpy as np
import pytest

from keras_lr.comparison.csv_data import read_csv
from keras_lr.comparison.datasets import load_dataset


@pytest.fixture
def save(tmp_path):
    def save(text, name="data.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return save


def test_last_column_is_the_target_and_texts_become_inputs_of_their_own(save):
    columns = read_csv(
        save("size,color,is_new,price\n1,red,True,2.5\n3,blue,False,4\n")
    )
    np.testing.assert_array_equal(columns.x, [[1, 0, 1, 1], [3, 1, 0, 0]])
    assert columns.is_indicator.tolist() == [False, True, True, False]
    assert columns.y.tolist() == [2.5, 4.0]
    assert columns.target == "price"


def test_target_may_be_another_column_of_text(save):
    columns = read_csv(save("a, b, c\n1,x,5\n2,y,6\n"), target="b")
    np.testing.assert_array_equal(columns.x, [[1, 5], [2, 6]])
    assert columns.y.tolist() == ["x", "y"]
    assert columns.target == "b"


def test_first_column_without_a_name_holds_the_numbers_of_the_rows(save):
    columns = read_csv(save(",a,b\n0,3,1\n1,4,0\n"))
    np.testing.assert_array_equal(columns.x, [[3], [4]])


NAMES = "".join(f"name {row},{row}\n" for row in range(51))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b,c\n1,,x\nNA,2,y\n",
            r"nothing, or.* in a \(1 rows\), b \(1 rows\)\. Fill",
        ),
        ("a,b\n1,x\n2,\n", r"in b \(1 rows\)"),
        ("a,b\ninf,1\n2,3\n", "must be finite. Received: infinity in a"),
        (f"a,b\n{NAMES}", "50 different texts at most.* Received: 51 in a"),
        ("a;b\n1;2\n", "separated by commas. Received: a;b"),
        ("a,b\n1,2,3\n4,5,6\n", "cannot be read as CSV: Length of header"),
        ("a,b\n1,2\n4,5,6\n", "cannot be read as CSV: .*line 3"),
        ("", "cannot be read as CSV: No columns"),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_its_columns(save, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(save(text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"cannot be read as CSV: .*utf-8"):
        read_csv(path)


def test_missing_file_and_missing_column_are_refused(save, tmp_path):
    with pytest.raises(ValueError, match=r"There is no file .*none\.csv"):
        read_csv(tmp_path / "none.csv")
    many = ",".join("abcdefg")
    with pytest.raises(ValueError, match=r"a, b, c, d, e, 2 more\. Received: price"):
        read_csv(save(f"{many}\n1,2,3,4,5,6,7\n"), target="price")


def test_numbers_are_standardized_and_texts_stay_0_and_1(save):
    rows = "".join(f"{row},{'xy'[row % 2]},{row % 2}\n" for row in range(10))
    dataset = load_dataset(str(save(f"a,b,c\n{rows}", "DATA.CSV")))
    (x, y), (x_test, _) = dataset.data
    assert (len(x), len(x_test)) == (8, 2)
    assert x[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert x[:, 0].std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(x[:, 1:], np.eye(2)[y])
    assert (dataset.classes, dataset.target) == (2, "c")


def test_target_needs_a_file_of_columns():
    with pytest.raises(ValueError, match="--target sort with --data iris"):
        load_dataset("iris", target="sort")


def test_pandas_is_named_with_its_extra(save, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "keras_lr\[examples\]"'):
        read_csv(save("a,b\n1,2\n"))
