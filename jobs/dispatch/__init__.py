"""To SLURM or to this machine's queue: submissions, arrays, holds, and what became of them."""
