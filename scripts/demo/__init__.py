"""The built-in dataset: scenes of drawn objects. The program is `scripts/make_demo_data.py`."""
