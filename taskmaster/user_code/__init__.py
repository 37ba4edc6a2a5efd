"""What is found out of the user's module: where a TARGET is, and which version of its file a slave
runs.

``target`` finds and imports it, ``code_version`` tells two versions apart. Runs no callback.
"""
