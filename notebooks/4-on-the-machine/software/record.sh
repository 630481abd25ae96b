#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
image=$SCALEUP_CONTAINER
record="record-$SLURM_JOB_ID.txt"
{
    echo "job: $SLURM_JOB_ID on $SLURM_JOB_NODELIST, $(date --iso-8601=seconds)"
    echo "script: $(sha256sum < "$0")"
    echo "code: $(git rev-parse HEAD 2> /dev/null), changed files: $(git status --short 2> /dev/null | wc -l)"
    echo "modules: ${LOADEDMODULES:-none}"
    echo "container: ${image:-none}${image:+ $(sha256sum < "$image")}"
    echo "python: $(python --version), on $(uname -m)"
    echo "torch: $(python -c 'import torch; print(torch.__version__, torch.version.cuda, torch.version.hip)')"
    python -m pip freeze > "packages-$SLURM_JOB_ID.txt"
    echo "packages: $(wc -l < "packages-$SLURM_JOB_ID.txt"), $(sha256sum < "packages-$SLURM_JOB_ID.txt")"
} > "$record"
# What the job was told, without passwords.
told='HF_|TORCH|TRITON_|XDG_|MPL|PYTHON|OMP_|NCCL_|FI_|CUDA_|HIP_|ROCR_|MIOPEN_|LOADEDMODULES|SLURM_'
env | grep -E "^($told)" | grep -v -E 'TOKEN|KEY|SECRET|PASS' | sort >> "$record"
