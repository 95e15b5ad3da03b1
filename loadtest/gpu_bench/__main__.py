"""`python -m resonance.loadtest.gpu_bench`; see `resonance.loadtest.gpu_bench.run`.

Nothing of ours is imported here: the processes that decode import the main module again, and need no torch.
"""

import time

if __name__ == "__main__":
    begun_s = time.monotonic()  # the import of torch is part of the run's time
    from resonance.training.tuning import restart_tuned

    restart_tuned()  # for the processes of its parts and those that decode, which inherit it
    from resonance.loadtest.gpu_bench.run import main

    raise SystemExit(main(begun_s=begun_s))
