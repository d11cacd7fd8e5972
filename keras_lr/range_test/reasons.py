"""A verdict of the range test in sentences."""

from keras_lr.rules.range_test import MARGIN, Verdict


def reason_of(verdict: Verdict, untrained: float, steps: int) -> str:
    """Return why the rate was chosen.

    Args:
        verdict: The verdict.
        untrained: Loss without training.
        steps: Steps at each rate.
    """
    best = verdict.best
    if verdict.doubt in ("no_gain", "too_high"):
        return (
            f"At no rate did {steps} steps lower the training loss of {untrained:.4g} "
            "clearly."
        )
    change = f"from {untrained:.4g} to {best.loss:.4g}"
    share = (
        f"The suggestion is {MARGIN:.0%} of that: what is best in a few steps is often "
        "too high later."
    )
    if verdict.doubt in ("lower_limit", "upper_limit"):
        if verdict.doubt == "lower_limit":
            share = "That is the suggestion, for no lower one may be tried."
        return (
            f"Of the rates that may be tried, one of {best.learning_rate:.3g} lowers "
            f"the training loss most in {steps} steps ({change}). {share}"
        )
    return (
        f"{steps} steps lower the training loss most at about {verdict.optimum:.2g} "
        f"(at {best.learning_rate:.3g} {change}). {share}"
    )


def warning_of(verdict: Verdict, minimum: float, maximum: float) -> str:
    """Return why the suggestion may be wrong, empty if nothing speaks against it.

    Args:
        verdict: The verdict.
        minimum: Lowest rate that was allowed.
        maximum: Highest one, which need not be a rung of the ladder.
    """
    ways_out = {
        "": "",
        "no_gain": (
            "No learning rate lowers the loss clearly, so the suggestion says little. "
            "Check the labels and the loss, pass more `steps`, or, if the model is "
            "trained already, keep a low rate."
        ),
        "too_high": (
            "Even the lowest rate that may be tried raises the loss, as where inputs "
            "or targets are not scaled. Scale them to numbers of about 1, or allow "
            f"lower rates. Received: min_learning_rate={minimum:g}."
        ),
        "lower_limit": (
            "The lowest rate that may be tried is the best, so a lower one may be "
            f"better. Received: min_learning_rate={minimum:g}. Lower it."
        ),
        "upper_limit": (
            "The highest rate that may be tried is the best, so a higher one may be "
            f"better. Received: max_learning_rate={maximum:g}. Raise it."
        ),
        "uneven": (
            "Two learning rates have a low loss, and those between them do not, so "
            "neither is certain. Look at `plot()`, or pass more `steps`."
        ),
    }
    return ways_out[verdict.doubt]
