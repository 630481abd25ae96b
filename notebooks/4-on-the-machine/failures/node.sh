#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=1
#SBATCH --time=00:05:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=node.out

step=$(cat node.step 2> /dev/null || echo 0)
echo "on $(hostname), start number $((${SLURM_RESTART_COUNT:-0} + 1)), from step $step"
date +%s.%N >> node.starts
while [ "$step" -lt 20 ]; do
    sleep 0.5
    step=$((step + 1))
    echo $step > node.part && mv node.part node.step
done
echo "on $(hostname): step $step, done"
