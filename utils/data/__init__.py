"""Datasets on disk: folder layout, image lists, images, masks, checks, and the constants of VOC and COCO.

Augmentation and batches for training are in `utils.l2g_samples` and `deeplabv2.dataset`.
"""
