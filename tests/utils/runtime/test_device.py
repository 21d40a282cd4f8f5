"""What depends on the device alone."""

import torch

from utils.runtime.device import GPU_BATCH, inference_batch


def test_a_gpu_takes_several_images_together_and_a_given_number_is_taken():
    assert GPU_BATCH > 1
    assert inference_batch(0, torch.device("cuda", 0)) == GPU_BATCH and inference_batch(0, torch.device("cpu")) == 1
    assert inference_batch(3, torch.device("cuda", 0)) == inference_batch(3, torch.device("cpu")) == 3
