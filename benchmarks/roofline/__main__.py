"""``PYTHONPATH=.:tests python -m benchmarks.roofline``: see :mod:`benchmarks.roofline.estimate`."""

from fake_cuda.guard import load_guard

load_guard()  # before PyTorch is imported, which then finds a CUDA device

from benchmarks.roofline.estimate import main  # noqa: E402

main()
