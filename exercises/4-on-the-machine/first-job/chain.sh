#!/bin/bash
# Submits three jobs, on the login node: bash chain.sh
# A number after it is the exit status of the training: bash chain.sh 1 lets it fail.
train=$(sbatch --parsable train.sh "${1:-0}")
evaluate=$(sbatch --parsable evaluate.sh)
cleanup=$(sbatch --parsable cleanup.sh)
echo "submitted $train, $evaluate and $cleanup"
