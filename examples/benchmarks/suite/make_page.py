"""Make the tables and figures of the suite in docs/benchmarks*.md from `results/`.

    python examples/benchmarks/suite/make_page.py

is `make_tables.py`, `rank.py`, `robustness.py`, `budget.py` and `costs.py`, one after
the other; the first two also for the runs with the same order of batches in each epoch.
"""

import budget
import costs
import make_tables
import rank
import robustness
from results import SAME_BATCHES


def main() -> None:
    """Rewrite the page and its figures."""
    for script in (make_tables, rank, robustness, budget, costs):
        script.main([])
    same_batches = ["--results", str(SAME_BATCHES)]
    make_tables.main(same_batches)
    rank.main([*same_batches, "--figure", str(rank.SAME_BATCHES_FIGURE)])


if __name__ == "__main__":
    main()
