#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=00:05:00
#SBATCH --output=dies.out

export OMP_NUM_THREADS=1 SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK GLOO_SOCKET_IFNAME=lo

# A worker is killed.
srun --ntasks=1 torchrun --standalone --nproc-per-node=3 worker.py > worker.log 2>&1

# The process needs more memory than it may have.
srun --ntasks=1 python memory.py > memory.log 2>&1

# A port that an older job left open.
srun --ntasks=1 bash -c 'python stale.py older 0 & python stale.py new 1
    python stale.py new 0; kill $!' > stale.log 2>&1

# A disk of 4 MB: a file system in memory that only this step sees.
for way in plain atomic; do
    srun --ntasks=1 unshare --user --map-root-user --mount sh -c \
        "mkdir -p small && mount -t tmpfs -o size=4m none small && python save.py small $way" \
        > disk-$way.log 2>&1
done

# Two tasks on one core, then on two.
srun --ntasks=2 python binding.py same
srun --ntasks=2 python binding.py own
exit 0
