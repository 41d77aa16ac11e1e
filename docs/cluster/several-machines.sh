#!/bin/sh
# On each of two machines with four GPUs; FIRST is the name of one of them. All see the same folders.
set -eu
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint "$FIRST:29500" --rdzv-id distil \
	-m hello_distill distill "$IMAGENET" --recipe imagenet1k --ipc 10 --out out/imagenet --stages out/stages
