"""Converts downloads and folders of photos to datasets: helpers of the `prepare_*` and `make_saliency` programs."""
