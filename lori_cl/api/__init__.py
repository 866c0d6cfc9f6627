"""The Python API: workspaces, runs, and the adapter for a training loop of your own.

Import the names from `lori_cl` itself; the command line is a thin layer over this package.
"""
