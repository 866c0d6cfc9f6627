"""Fuzzing of everything that somebody else may have written: `python -m tests.fuzz --seconds 600`.

Each target takes bytes and does with them what a command would: what may come of it is a result, or one line
(a LoriError). A traceback, more than a second of processor time, a write outside the target's own folder, a
connection, a new process or an unpickled object is a finding.
"""
