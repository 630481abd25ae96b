#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
bash make_image.sh
echo "the loss is 2.5" > results.txt
export LEARNING_RATE=0.001 NODE_KERNEL=$(uname -r)

echo "[1] other files:"
bash contain.sh sh -c '. /etc/os-release; echo "$NAME"; ls /'
echo "[2] the same kernel:"
bash contain.sh sh -c '[ "$(uname -r)" = "$NODE_KERNEL" ] && echo "the kernel of the node"'
echo "[3] environment variables come along:"
bash contain.sh sh -c 'echo "learning rate $LEARNING_RATE"'
echo "[4] the folder of the job does not:"
bash contain.sh sh -c 'ls -A /project; cat /project/results.txt' 2>&1
echo "[5] unless it is bound:"
bash contain.sh --bind "$PWD" sh -c 'cat /project/results.txt; echo "written inside" > /project/back.txt'
cat back.txt
