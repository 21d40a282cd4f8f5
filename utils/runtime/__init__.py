"""The machine that a program runs on: device, precision, processes, seeds, graceful stop, log, versions.

What a training loop does with it is in `utils.training`.
"""
