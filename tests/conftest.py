"""One thread for each process: the tensors of the tests are small, and threads that wait for one another are slow.

A shell's background ignores SIGINT, and so would every process that the tests start there: they are to hear it.
"""

import signal

import torch

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
