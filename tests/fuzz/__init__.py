"""Fuzz tests of all untrusted input: `python -m tests.fuzz --seconds 600`.

Each target processes bytes as a command does. It may return a result or raise a one-line error (a LoriError).
A traceback, more than a second of processor time, a write outside the target's own folder, a
connection, a new process or an unpickled object is a finding.
"""
