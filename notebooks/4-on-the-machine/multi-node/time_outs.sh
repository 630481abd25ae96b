#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=00:05:00
#SBATCH --output=time_outs.out

export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))

# One process is started and told that there are two. It waits one second for the other.
PATIENCE=1 srun --nodes=1 --ntasks=1 \
    bash -c 'SLURM_NTASKS=2 python by_hand.py 2> never_came.err'

# Four ranks; the last one dies, while the others wait for it in an all-reduce.
srun --kill-on-bad-exit=0 python one_dies.py

# Four tasks; the last one fails at once. The others wait two seconds.
for kill in 0 1; do
    SECONDS=0
    srun --kill-on-bad-exit=$kill sh -c '[ "$SLURM_PROCID" = 3 ] && exit 1; sleep 2'
    echo "kill-on-bad-exit=$kill: the step ended after ≈ $SECONDS s" >> one_fails.txt
done
exit 0
