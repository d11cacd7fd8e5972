"""Make all tables and figures of docs/benchmarks.md from what is in `results/`.

    python examples/benchmarks/suite/make_page.py

is `make_tables.py`, `rank.py`, `robustness.py`, `budget.py` and `costs.py`, one after
the other.
"""

import budget
import costs
import make_tables
import rank
import robustness


def main() -> None:
    """Rewrite the page and its figures."""
    for script in (make_tables, rank, robustness, budget, costs):
        script.main([])


if __name__ == "__main__":
    main()
