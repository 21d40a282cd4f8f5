"""Turns downloads and folders of photos into a dataset: helpers of the `prepare_*` and `make_saliency` programs."""
