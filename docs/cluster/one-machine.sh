#!/bin/sh
# Four GPUs of one machine.
set -eu
torchrun --standalone --nproc-per-node 4 -m hello_distill distill "$IMAGENET" --recipe imagenet1k --ipc 10 \
	--out out/imagenet --stages out/stages
torchrun --standalone --nproc-per-node 4 -m hello_distill train out/imagenet --data "$IMAGENET"
