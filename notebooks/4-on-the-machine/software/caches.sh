# To be sourced by every job: caches on scratch, nothing in the home directory.
export XDG_CACHE_HOME="$SCRATCH/cache"         # whoever follows the convention
export HF_HOME="$SCRATCH/cache/huggingface"    # models and data sets
export TORCH_HOME="$SCRATCH/cache/torch"       # torch.hub
export PIP_CACHE_DIR="$SCRATCH/cache/pip"
export APPTAINER_CACHEDIR="$SCRATCH/cache/apptainer" SINGULARITY_CACHEDIR="$SCRATCH/cache/apptainer"
export MPLCONFIGDIR="$TMPDIR/matplotlib"
export TRITON_CACHE_DIR="$TMPDIR/triton"       # compiled kernels: on the node, for each job anew
export TORCHINDUCTOR_CACHE_DIR="$TMPDIR/inductor"
