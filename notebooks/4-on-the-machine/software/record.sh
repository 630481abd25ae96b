#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1
#SBATCH --time=00:02:00 --output=%x-%j.out
image=$SCALEUP_CONTAINER
record="record-$SLURM_JOB_ID.txt"
{
    echo "job: $SLURM_JOB_ID on $SLURM_JOB_NODELIST, $(date --iso-8601=seconds)"
    echo "script: $(sha256sum < "$0")"
    changed=$(git status --short 2> /dev/null | wc -l)
    echo "code: $(git rev-parse HEAD 2> /dev/null), changed files: $changed"
    echo "modules: ${LOADEDMODULES:-none}"
    echo "container: ${image:-none}${image:+ $(sha256sum < "$image")}"
    echo "python: $(python --version), on $(uname -m)"
    builds='import torch; print(torch.__version__, torch.version.cuda, torch.version.hip)'
    echo "torch: $(python -c "$builds")"
    packages="packages-$SLURM_JOB_ID.txt"
    python -m pip freeze > "$packages"
    echo "packages: $(wc -l < "$packages"), $(sha256sum < "$packages")"
} > "$record"
# What the job was told, without passwords.
told='HF_|TORCH|TRITON_|XDG_|MPL|PYTHON|OMP_|NCCL_|FI_|CUDA_|HIP_|ROCR_|MIOPEN_'
told="$told|LOADEDMODULES|SLURM_"
env | grep -E "^($told)" | grep -v -E 'TOKEN|KEY|SECRET|PASS' | sort >> "$record"
