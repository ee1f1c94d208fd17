"""Exit statuses of the command line."""

OK, REGRESSION, WRONG, USAGE, FAILED, STOPPED = 0, 1, 1, 2, 3, 130
