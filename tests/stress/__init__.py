"""Bad inputs by the hundred and kills at random moments: `python -m tests.stress`. The suite does not collect it."""
