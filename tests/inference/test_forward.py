"""Batches: their order, their size when memory is short, and when the network is compiled."""

import numpy as np
import pytest
import torch
from inference.tiled import Local, noise, tiled, whole

from copick_tools.inference.device import autocast, has_bf16, home_of_sums, predicts_mixed, tuned
from copick_tools.inference.forward import ORIENTATIONS, ChannelsLastNorm, Forward, turned, turned_back

CPU = torch.device("cpu")


class Small(Local):
    """Runs out of memory with more than ``most`` windows."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many windows")
        return super().forward(x)


def windows(count):
    return [((n, 2 * n), torch.from_numpy(noise((4, 4, 4), n))) for n in range(count)]


def run(forward, count):
    with torch.inference_mode():
        return [(corner, found.clone()) for corner, found in forward(iter(windows(count)))]


@pytest.mark.parametrize("batch", [1, 3, 4, 50])
def test_batches_change_nothing(batch):
    single, together = (run(Forward(Local(), CPU, False, size, 1), 10) for size in (1, batch))
    assert [corner for corner, _ in together] == [(n, 2 * n) for n in range(10)]
    for (_, one), (_, other) in zip(single, together):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("most", [1, 3])
def test_batches_shrink_when_memory_is_short(most):
    network = Small(most)
    forward = Forward(network, CPU, False, 8, 1)
    expected = run(Forward(Local(), CPU, False, 1, 1), 19)
    for (_, one), (_, other) in zip(expected, run(forward, 19)):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert forward.batch <= most
    assert sum(network.calls) == 19


@pytest.mark.parametrize("tta", [1, 2, 8])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("most", "sizes"), [(1, {1}), (3, {2}), (5, {5}), (9, {9})])
def test_batches_shrink_to_one_size(tta, fixed, most, sizes):
    network = Small(most)
    forward = Forward(network, CPU, False, 11 if most == 5 else 9, tta)
    forward.fixed = fixed
    expected = run(Forward(Local(), CPU, False, 1, tta), 19)
    found = run(forward, 19)
    assert [corner for corner, _ in found] == [corner for corner, _ in expected]
    for (_, one), (_, other) in zip(expected, found):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert forward.batch == max(sizes)
    assert set(network.calls) == sizes or not fixed


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("step", ["softmax", "flip"])
def test_memory_may_be_short_beside_the_network(monkeypatch, step, fixed):
    expected = run(Forward(Local(), CPU, False, 1, 4), 10)
    original, refused = getattr(torch.Tensor, step), []

    def scarce(tensor, *args, **options):
        if len(tensor) > 2:
            refused.append(len(tensor))
            raise torch.OutOfMemoryError("too many windows")
        return original(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, step, scarce)
    forward = Forward(Local(), CPU, False, 5, 4)
    forward.fixed = fixed
    for (_, one), (_, other) in zip(expected, run(forward, 10)):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert refused == [5]
    assert forward.batch == 2


@pytest.mark.parametrize("tta", [1, 4])
@pytest.mark.parametrize("fixed", [False, True])
def test_out_of_memory_with_one_window(tta, fixed):
    forward = Forward(Small(0), CPU, False, 4, tta)
    forward.fixed = fixed
    with pytest.raises(torch.OutOfMemoryError):
        run(forward, 6)


def test_compiled_networks_see_one_size():
    network = Local()
    forward = Forward(network, CPU, False, 4, 1)
    forward.fixed = True
    assert len(run(forward, 10)) == 10
    assert network.calls == [4, 4, 4]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 0.04)])
def test_norms_stay_what_they_are(affine, track, dtype, error):
    norm = torch.nn.InstanceNorm3d(4, affine=affine, track_running_stats=track, eps=0.1).eval()
    generator = torch.Generator().manual_seed(0)
    if affine:
        torch.nn.init.normal_(norm.weight, generator=generator)
        torch.nn.init.normal_(norm.bias, generator=generator)
    inputs = (3 * torch.randn(2, 4, 6, 5, 7, generator=generator) + 1).to(dtype)
    inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
    expected = norm(inputs.float())
    with torch.inference_mode(), ChannelsLastNorm():
        found = norm(inputs)
    torch.testing.assert_close(found.float(), expected, atol=error, rtol=error)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last_3d) or track


def test_other_norms_are_let_be():
    inputs = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    for norm in (torch.nn.InstanceNorm2d(4), torch.nn.BatchNorm2d(4).eval()):
        expected = norm(inputs)
        with ChannelsLastNorm():
            torch.testing.assert_close(norm(inputs), expected)


class TestPrecision:
    @pytest.mark.parametrize(("native", "capability"), [(True, "AVX512"), (False, "AVX512"), (True, "AVX2")])
    def test_a_cpu_needs_it_natively(self, monkeypatch, native, capability):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        worth = native and capability == "AVX512"
        assert has_bf16(CPU) is worth
        assert predicts_mixed("auto", CPU) is worth
        assert predicts_mixed("bf16", CPU) is worth
        assert not predicts_mixed("fp32", CPU)

    @pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
    def test_cuda_takes_what_it_has(self, monkeypatch, native, dtype):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
        assert predicts_mixed("auto", torch.device("cuda"))
        seen = []
        monkeypatch.setattr(torch, "autocast", lambda kind, dtype: seen.append((kind, dtype)))
        autocast(torch.device("cuda"), True)
        assert seen == [("cuda", dtype)]


def test_sums_stay_on_the_device_while_they_fit(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
    assert home_of_sums(cuda, 50) == cuda  # what torch holds and doesn't use counts as free
    assert home_of_sums(cuda, 51) == CPU
    assert home_of_sums(CPU, 10**12) == CPU


class TestTuning:
    CUDA = torch.device("cuda")

    @pytest.fixture(autouse=True)
    def put_back(self, monkeypatch):
        for name in ("benchmark", "deterministic"):
            monkeypatch.setattr(torch.backends.cudnn, name, False)

    def state(self):
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, cudnn.conv.fp32_precision

    def test_nothing_else_changes(self, monkeypatch):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
        before = self.state()
        with tuned(self.CUDA):
            assert torch.backends.cudnn.benchmark
            assert self.state() == before
        assert not torch.backends.cudnn.benchmark
        assert self.state() == before

    def test_the_last_puts_it_back(self):
        first, second = tuned(self.CUDA), tuned(self.CUDA)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.backends.cudnn.benchmark
        second.__exit__(None, None, None)
        assert not torch.backends.cudnn.benchmark

    def test_what_was_on_stays_on(self):
        torch.backends.cudnn.benchmark = True
        with tuned(self.CUDA):
            pass
        assert torch.backends.cudnn.benchmark

    def test_not_where_the_same_bits_are_wanted(self, monkeypatch):
        with tuned(CPU):
            assert not torch.backends.cudnn.benchmark
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
        with tuned(self.CUDA):
            assert not torch.backends.cudnn.benchmark
        monkeypatch.undo()
        torch.backends.cudnn.deterministic = True
        with tuned(self.CUDA):
            assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("tta", [1, 2, 4, 8, 16, "turns"])
def test_orientations_are_a_group(tta):
    """Each once, back where it came from, and averaging over them forgets which one came in."""
    windows = torch.from_numpy(noise((4, 6, 6)))[None, None]
    seen = {turned(windows, one).numpy().tobytes() for one in ORIENTATIONS[tta]}
    assert len(seen) == len(ORIENTATIONS[tta]) == {"turns": 4}.get(tta, tta)
    for one in ORIENTATIONS[tta]:
        assert torch.equal(turned_back(turned(windows, one), one), windows)
        predictor = tiled(Local(), (4, 6, 6), tta=tta, sums="float32")
        again = whole(predictor.stitched(turned(windows, one)[0, 0].numpy()))
        expected = turned(torch.from_numpy(whole(predictor.stitched(windows[0, 0].numpy())))[None], one)[0]
        np.testing.assert_allclose(again, expected, atol=1e-5)


def test_quarter_turns_need_a_square():
    with pytest.raises(ValueError, match="square in the plane"):
        tiled(Local(), (4, 6, 8), tta="turns")
