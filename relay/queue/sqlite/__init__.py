"""The queue in one SQLite file: what a single machine needs.

The running relay uses ``store``, the verbs of the command line ``admin``, at the same time.
"""
