#!/usr/bin/env bash
# get-nvcc.sh [FOLDER]: puts nvcc 13.0 and what it needs into FOLDER, from NVIDIA's wheels on PyPI (165 MB to
# download, 220 MB on disk). The default is where kernels/cuda/config.toml looks. Needs python3 with pip, and g++.
#
# 13.0 and no later: PTX of a newer compiler is refused by the drivers of the 580 series, which come with CUDA 13.0.
set -euo pipefail

folder=${1:-$(dirname "$0")/../../local/cuda}
wheels=(
    nvidia-cuda-nvcc==13.0.88    # nvcc, ptxas, fatbinary
    nvidia-cuda-crt==13.0.88     # headers that nvcc includes by itself
    nvidia-nvvm==13.0.88         # cicc, the compiler behind nvcc
    nvidia-cuda-runtime==13.0.96 # cuda_bf16.h and others, libcudart_static.a
    nvidia-cuda-cccl==13.0.85    # cub and cuda::std, which candle's kernels include
    nvidia-curand==10.4.0.35     # headers that candle's kernels include
)

if [ "$(cat "$folder/wheels" 2>/dev/null)" = "${wheels[*]}" ]; then
    echo "$folder is complete"
    exit
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
platforms=()
for glibc in 2_28 2_27 2_17 2014; do
    platforms+=(--platform "manylinux${glibc/#2_/_2_}_x86_64")
done
python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$scratch/wheels" "${platforms[@]}" "${wheels[@]}"
for wheel in "$scratch"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$scratch/unpacked"
done

toolkit=$scratch/unpacked/nvidia/cu13
chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/* # zipfile forgets modes
rm -f "$toolkit"/lib/*.so*                      # only programs at run time want them
ln -sfn lib "$toolkit/lib64"                    # nvcc.profile and build scripts look there
mkdir -p "$folder"
cp -a "$toolkit/." "$folder/"
printf '%s' "${wheels[*]}" >"$folder/wheels"
"$folder/bin/nvcc" --version | tail -n 2
