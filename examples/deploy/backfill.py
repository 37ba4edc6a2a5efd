"""Stands for your module in the files beside it: ten thousand numbers, a hundredth of a second
each.
"""

import time


def get_jobs(last=0):
    """Yield what is to be done, from the last key on."""
    yield from range(last + 1, 10_001)


def handle_job(number):
    """Do it. A job may run again after a machine was lost: twice has to be as good as once."""
    time.sleep(0.01)
    if number % 1000 == 0:
        print(f"at {number}")
