"""Linear regression, from the formula to answers within a deadline: the first tutorial."""
