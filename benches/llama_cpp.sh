#!/usr/bin/env bash
# The same weights under llama.cpp and under foretoken, in turns, as one table.
#
#   benches/llama_cpp.sh BUILD_DIR MODEL_DIR [options of `llama_cpp.py compare`, such as --threads 2 --rounds 3]
#
# BUILD_DIR is where llama.cpp was built, MODEL_DIR a Llama checkpoint in bfloat16, such as `--example random_model`
# writes. GGUF files are written beside it once, to MODEL_DIR.gguf/. Needs Python with the packages `gguf` and `numpy`.
#
# Where GitHub cannot be reached, llama.cpp comes with a package of PyPI:
#
#   pip download --no-deps --no-binary llama-cpp-python llama-cpp-python && tar xzf llama_cpp_python-*.tar.gz
#   cmake -S llama_cpp_python-*/vendor/llama.cpp -B BUILD_DIR -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
#     -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF
#   cmake --build BUILD_DIR -j --target llama-bench llama-quantize
set -euo pipefail
build=$1 model=${2%/}
shift 2
here=$(cd "$(dirname "$0")" && pwd)
files=$model.gguf
mkdir -p "$files"
if [ ! -e "$files/q8_0.gguf" ]; then
  python3 "$here/llama_cpp.py" convert "$model" "$files/bf16.gguf"
  "$build/bin/llama-quantize" "$files/bf16.gguf" "$files/q8_0.gguf" Q8_0
fi
# The binary's path stands in parentheses in what cargo says.
forward=$(cd "$here" && cargo bench -p foretoken-benches --bench forward --no-run 2>&1 | tee /dev/stderr |
  sed -n 's/.*Executable.*(\(.*\))/\1/p')
forward=$(cd "$here/.." && realpath "$forward")
exec python3 "$here/llama_cpp.py" compare --llama-bench "$build/bin/llama-bench" --forward "$forward" \
  --model "$model" --gguf "bf16=$files/bf16.gguf" --gguf "Q8_0=$files/q8_0.gguf" "$@"
