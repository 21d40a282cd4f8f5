"""What touches the disk for every room: whole-file writes, locks, worker processes, restricted readers, manifests.

Nothing here knows about images, datasets or networks.
"""
