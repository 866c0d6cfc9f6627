"""Kill a real `lori-cl run` at any point, check its data, resume it, and compare with an uninterrupted run.

    python -m tests.crash --kills 1000 --seed 0
    python -m tests.crash --faults all

The driver imports the libraries once and forks a child for each run, so that a child takes a second or
two and a kill can hit any part of it.
"""
