#!/usr/bin/env bash
# resources.sh [CARD]: what each kernel takes of a multiprocessor, as a Markdown table; sm_90a unless a card is named.
# Fails if a kernel spills registers. Needs the nvcc of get-nvcc.sh, or CUDA_HOME.
set -euo pipefail

card=${1:-sm_90a}
cd "$(dirname "$0")"
nvcc=${CUDA_HOME:-../../local/cuda}/bin/nvcc

echo "| kernel | registers | shared bytes | stack bytes | spilled bytes |"
echo "| --- | --- | --- | --- | --- |"
for source in *.cu; do
    "$nvcc" -cubin -O3 -std=c++17 -I. -Xptxas -v "-gencode=arch=${card/sm/compute},code=$card" "$source" -o /dev/null 2>&1
done | awk '
    /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2]; ours = 1 }
    /Function properties/ { ours = ($NF == kernel) }
    /bytes stack frame/ && ours { stack = $1; spilled = $5 + $9 }
    /Used [0-9]+ registers/ {
        match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
        shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH - 11) : 0
        printf "| %s | %s | %s | %s | %s |\n", kernel, registers, shared, stack, spilled
        if (spilled > 0) failed = 1
    }
    END { exit failed }
'
