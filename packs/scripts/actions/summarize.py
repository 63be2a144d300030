"""Count, mean, median and spread of a list of numbers."""

import statistics


def run(input):
    """`input` is what the task gives; what is returned is the output. What is printed goes to the node's log."""
    values = input["values"]
    print(f"{len(values)} values from {min(values)} to {max(values)}")
    return {
        "count": len(values),
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "stdev": statistics.stdev(values) if len(values) > 1 else 0.0,
    }
