"""The machine a program runs on: device, precision, processes, seeds, graceful stop, log, versions.

The training loop is in `utils.training`.
"""
