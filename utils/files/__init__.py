"""Disk access for all other packages: atomic writes, locks, worker processes, restricted readers, manifests.

Nothing here knows about images, datasets or networks.
"""
