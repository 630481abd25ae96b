#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00
# Known here: $HOME, small. $PROJECT, large and shared. $TMPDIR, the node's own disk.
# ...  # your answer

srun python first_step.py
