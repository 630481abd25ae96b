#!/bin/bash
# Trains on four devices of the practice supercomputer, one task for each.
#SBATCH --job-name=four
#SBATCH --account=practice
### BEGIN SOLUTION
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --gpus-per-node=2
### STARTER
# #SBATCH --nodes=1
# #SBATCH --ntasks-per-node=4
# #SBATCH --gpus-per-node=4
### END SOLUTION
#SBATCH --mem=16G
#SBATCH --time=00:20:00

srun --gpus-per-task=1 echo "a rank trains"
