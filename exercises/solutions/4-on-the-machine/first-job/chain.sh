#!/bin/bash
# Submits three jobs, on the login node: bash chain.sh
# A number after it is the exit status of the training: bash chain.sh 1 lets it fail.
train=$(sbatch --parsable train.sh "${1:-0}")
### BEGIN SOLUTION
evaluate=$(sbatch --parsable --dependency="afterok:$train" --kill-on-invalid-dep=yes evaluate.sh)
cleanup=$(sbatch --parsable --dependency="afterany:$train:$evaluate" cleanup.sh)
### STARTER
# evaluate=$(sbatch --parsable evaluate.sh)
# cleanup=$(sbatch --parsable cleanup.sh)
### END SOLUTION
echo "submitted $train, $evaluate and $cleanup"
