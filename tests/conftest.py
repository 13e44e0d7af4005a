"""Nothing but one thread: what tests share is imported from ``support``."""

import os

# On networks this small a second thread only waits for the first. Libraries read it when loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
