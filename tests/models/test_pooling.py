import pytest
import torch

from models.pooling import spatial_mean


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_means_and_their_gradients_are_those_of_the_maps(dtype, tolerance, layout):
    torch.manual_seed(0)
    x = torch.rand(2, 5, 30, 40).to(dtype).contiguous(memory_format=layout).requires_grad_()
    exact = x.detach().double().reshape(2, 5, -1).mean(2)
    found = spatial_mean(x)
    assert found.dtype == dtype and found.shape == (2, 5)
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=0)
    (found * torch.tensor([1.0, 2, 3, 4, 5]).to(dtype)).sum().backward()
    expected = (torch.arange(1.0, 6) / 1200)[None, :, None, None].expand(2, 5, 30, 40)
    torch.testing.assert_close(x.grad.float(), expected, rtol=tolerance, atol=0)
