#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
record="record-$SLURM_JOB_ID.txt"
{
    echo "job: $SLURM_JOB_ID on $SLURM_JOB_NODELIST, $(date --iso-8601=seconds)"
    echo "script: $(sha256sum < "$0")"
    echo "code: $(git rev-parse HEAD 2> /dev/null), changed files: $(git status --short 2> /dev/null | wc -l)"
    echo "modules: ${LOADEDMODULES:-none}"
    echo "container: ${CONTAINER:-none} $([ -z "$CONTAINER" ] || sha256sum < "$CONTAINER")"
    echo "python: $(python --version), on $(uname -m)"
    echo "torch: $(python -c 'import torch; print(torch.__version__, torch.version.cuda, torch.version.hip)')"
    python -m pip freeze > "packages-$SLURM_JOB_ID.txt"
    echo "packages: $(wc -l < "packages-$SLURM_JOB_ID.txt"), $(sha256sum < "packages-$SLURM_JOB_ID.txt")"
} > "$record"
# What the job was told, without passwords.
env | grep -E '^(HF|TORCH|NCCL|OMP|CUDA|SLURM)_' | grep -v -E 'TOKEN|KEY|SECRET' | sort >> "$record"
