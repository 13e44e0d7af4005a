"""What a run or a grid of runs showed: the report of a run, figures, comparisons."""
