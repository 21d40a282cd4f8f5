"""A dataset on disk: what is known about VOC and COCO, its folders, image lists, images, and checks of all of them.

What training makes of an image is in `utils.l2g_samples` and `deeplabv2.dataset`.
"""
