"""One thread for each process: the tensors of the tests are small, and threads that wait for one another are slow."""

import torch

torch.set_num_threads(1)
