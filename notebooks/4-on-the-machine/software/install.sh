#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
python -m venv --without-pip "$TMPDIR/env"  # many small files: on the node's own disk
python -m pip --python "$TMPDIR/env/bin/python" install --quiet \
    --no-index --find-links=wheels scaleup-greeting
"$TMPDIR/env/bin/python" -m scaleup_greeting
