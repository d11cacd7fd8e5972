"""`SoleWriter`: a second writer of a file is noticed, its reader is not."""

import pytest

from keras_lr._sole_writer import SoleWriter, stamp


def write(writer, path, text):
    with writer.writing(path):
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def test_stamp_tells_a_file_from_its_successor(path):
    assert stamp(path) == (0, 0)
    write(SoleWriter(""), path, "1")
    first = stamp(path)
    assert first == stamp(path)
    write(SoleWriter(""), path, "1")
    assert first != stamp(path)


def test_file_that_was_replaced_is_said_once_with_what_to_do(path):
    first, second = SoleWriter("Stop one."), SoleWriter("")
    write(first, path, "1")
    write(second, path, "2")
    with pytest.warns(UserWarning, match=r"Something else writes state.json .* Stop"):
        write(first, path, "1")
    write(SoleWriter(""), path, "2")
    # A second warning would be an error.
    write(first, path, "1")


def test_what_there_is_before_the_first_write_may_be_anybodys(path):
    path.write_text("of a process that was killed")
    writer = SoleWriter("")
    write(writer, path, "1")
    write(writer, path, "2")


def test_file_that_comes_after_it_was_missing_is_noticed(path):
    writer = SoleWriter("")
    writer.look_at(path)
    path.write_text("2")
    with pytest.warns(UserWarning, match="Something else"):
        write(writer, path, "1")


def test_writer_that_starts_over_knows_nothing(path):
    writer = SoleWriter("")
    write(writer, path, "1")
    path.unlink()
    writer.start_over()
    write(writer, path, "1")
