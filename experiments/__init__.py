"""The long results, one command each: the tables in data/results that the README, the lessons and the model cards quote."""
