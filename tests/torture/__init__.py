"""What can go wrong is made to go wrong, many times over, and counted.

A trial is a function of a seed in one of these files: it breaks something in a way that the seed decides, looks at what
becomes of it, and says how it ended (`Outcome`). `make torture` runs all of them in full; the tests run some.
"""
