"""Second derivatives of all that Keras offers, against differences of the gradient."""

import pytest

from tests import every_operation
from tests.every_operation import BEGIN, CASES, END, KINDS, NO_CASE, PAGE

REASONS = {name for names in NO_CASE.values() for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_every_public_name_has_a_case_or_a_reason(kind):
    known = REASONS | set(CASES[kind])
    new = [name for name in every_operation.names(kind) if name not in known]
    assert not new, f"Add to tests/every_operation.py: {new} of keras.{kind}."


def existing():
    for kind, cases in CASES.items():
        names = every_operation.names(kind) if kind in KINDS else cases
        for name in cases:
            if name in names:  # Older versions of Keras have fewer.
                yield pytest.param(kind, name, id=f"{kind}-{name}")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), list(existing()))
def test_second_derivatives_are_those_of_differences_or_refused(kind, name):
    case = CASES[kind][name]
    assert every_operation.outcome(case, name) == case.outcome


def test_list_of_the_documentation_is_that_of_the_cases():
    """What `python -m tests.every_operation` writes."""
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    assert text == f"\n{every_operation.listed(every_operation.declared())}\n"
