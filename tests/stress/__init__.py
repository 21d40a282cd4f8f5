"""Hundreds of bad inputs, and kills at random moments: `python -m tests.stress`. Not collected by the test suite."""
