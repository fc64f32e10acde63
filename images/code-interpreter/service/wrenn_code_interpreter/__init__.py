"""Wrenn's code interpreter: contexts that keep their state, over HTTP on port 49999, beside a Jupyter server.

One program is both: the contexts are kernels of that Jupyter server, so that any Jupyter client can look into them.
"""
