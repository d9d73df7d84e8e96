"""Speed beside named peers, one table each; never correctness."""
