"""Kill a real `lori-cl run` anywhere, look at what is left, go on, and compare with a run that nobody killed.

    python -m tests.crash --kills 1000 --seed 0
    python -m tests.crash --faults all

The driver imports the libraries once and forks a child for each run, so that a child lives for a second or
two and a kill can hit any part of it.
"""
