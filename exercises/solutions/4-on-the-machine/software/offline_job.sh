#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00
# Known here: $HOME, small. $PROJECT, large and shared. $TMPDIR, the node's own disk.
### BEGIN SOLUTION
export HF_HOME="$PROJECT/models"
export HF_HUB_OFFLINE=1
export TORCH_HOME="$PROJECT/cache/torch"
export XDG_CACHE_HOME="$PROJECT/cache"
export TRITON_CACHE_DIR="$TMPDIR/triton"
### STARTER
# # ...  # your answer
### END SOLUTION

srun python first_step.py
