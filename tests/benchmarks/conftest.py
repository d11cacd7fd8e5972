"""The scripts of the suites as modules, and small CSVs of runs."""

import pytest

from tests.example_scripts import scripts_of

HEADER = (
    "problem,optimizer,policy,learning_rate,seed,final_metric,diverged,"
    "gradient_evaluations,error"
)


@pytest.fixture(scope="module")
def script():
    """Give a function that imports a script by its name."""
    with scripts_of("benchmarks/suite") as scripts:
        yield scripts


@pytest.fixture(scope="module")
def long_script():
    """Give a function that imports a script of the long suite by its name."""
    with scripts_of("benchmarks/long") as scripts:
        yield scripts


@pytest.fixture
def table_of(script, tmp_path):
    """Give a function that reads runs as `make_tables.py` does, from lines of a CSV."""

    def read(*lines):
        path = tmp_path / "suite.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return script("results").read(path)

    return read


@pytest.fixture
def suite_of(table_of):
    """Give a function that reads metrics by problem, policy and seed, of plain SGD.

    It takes `{policy: {problem: metrics of seeds 0, 1, ...}}`.
    """

    def read(metrics, optimizer="sgd"):
        return table_of(
            *(
                f"{problem},{optimizer},{policy},"
                f"{0.1 if policy in ('constant', 'cosine_decay') else ''},"
                f"{seed},{metric},0,100,"
                for policy, problems in metrics.items()
                for problem, values in problems.items()
                for seed, metric in enumerate(values)
            )
        )

    return read
