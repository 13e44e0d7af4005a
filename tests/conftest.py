"""One thread, and the kernels of every processor: what tests share is imported from ``support``."""

import os

from surefoot.kernels import pin_kernels

# On networks this small a second thread only waits for the first. Libraries read it when loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start are pinned; what they compute is compared with what is computed here.
pin_kernels()
