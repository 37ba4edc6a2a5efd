"""The slave: one supervisor process a machine, which runs none of the user's code, and its worker
processes.
"""
