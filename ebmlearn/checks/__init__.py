"""Property checkers of the lessons' exercises: `from ebmlearn.checks import lesson01 as q`, then `q.<name>.check(answer)`."""
