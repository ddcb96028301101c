"""Every CUDA path run, checked and measured by one command: `python -m benchmarks.gpu --out gpu.json`."""
