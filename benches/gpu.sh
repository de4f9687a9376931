#!/usr/bin/env bash
# All there is to be measured on a GPU, for whoever has one for an hour; the program is built elsewhere.
#
#   benches/gpu.sh build BUNDLE                    here: builds for CUDA and puts what the run needs into a folder
#   BUNDLE/gpu.sh run OUT [--device cuda] [--parts 1,2,5] [--work DIR]      there: measures, part by part
#
# Each part stays well under ten minutes, writes OUT/NN-name.json(l) and .log as it goes, and can be run by itself; a part
# that fails says so and the next one runs. At the end OUT/results.md has the tables. `--device cpu` is a dry run on tiny
# shapes, to see that everything runs. The peer (part 10) wants a Python with torch and transformers; compute-sanitizer is
# used where it is found.
#
#   1 machine     card, driver, libraries                6 forward     a forward's price by its rows, real shapes
#   2 parity      every kernel against the oracle        7 efficiency  a drafter that is always right, real shapes
#   3 sanitizer   the same under compute-sanitizer       8 acceptance  the carried model and its drafters
#   4 kernels     share of a copy's speed and of the     9 lossless    the same text, whatever drafts, at every temperature
#                 library's rate                        10 peer        the same weights in PyTorch
#   5 models      random weights of real shapes          11 graphs      replayed steps against kernels launched one by one
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "gpu.sh: $*" >&2; exit 2; }

build() {
  local bundle=$1 root; root=$(cd "$here/.." && pwd)
  local flags=(--release) dir=${CARGO_TARGET_DIR:-$root/target}/release
  if [ "${CUDA:-1}" = 1 ]; then
    flags=(--config "$root/kernels/cuda/config.toml" --release --features cuda)
  fi
  mkdir -p "$bundle/bin" && bundle=$(cd "$bundle" && pwd) && cd "$root" || exit 1
  local cargo=${CARGO:-cargo}
  $cargo build "${flags[@]}" -p foretoken-server -p foretoken-benches --bins --examples || exit 1
  # The paths of benches and tests stand in what cargo says, in parentheses.
  local said
  said=$($cargo bench "${flags[@]}" -p foretoken-benches --no-run 2>&1 | tee /dev/stderr) || exit 1
  for bench in device forward efficiency engine; do
    take "$said" "$bench-" "$bundle/bin/bench-$bench"
  done
  said=$($cargo test "${flags[@]}" -p foretoken-kernels --no-run 2>&1 | tee /dev/stderr) || exit 1
  take "$said" foretoken_kernels- "$bundle/bin/test-kernels"
  [ "${CUDA:-1}" = 1 ] && dir=${dir%/release}/x86_64-unknown-linux-gnu/release
  cp "$dir/foretoken" "$dir/examples/random_model" "$bundle/bin/"
  cp benches/gpu.sh benches/gpu_peer.py benches/gpu_table.py "$bundle/"
  # Benches read these where they were built.
  mkdir -p "$bundle/benches" "$bundle/model" && cp -r benches/workloads "$bundle/benches/" && cp -r model/demo "$bundle/model/"
  echo "$root" > "$bundle/built-at"
  git rev-parse HEAD > "$bundle/revision"
}

# Copies the newest executable whose name begins so.
take() {
  local path
  path=$(sed -n "s/.*Executable.*(\(.*$2[0-9a-f]*\))/\1/p" <<< "$1" | tail -1)
  [ -n "$path" ] || fail "cargo named no executable $2"
  cp "$path" "$3"
}

run() {
  out=$1; shift
  device=cuda parts=1,2,3,4,5,6,7,8,9,10,11 work=
  while [ $# -gt 0 ]; do
    case $1 in
      --device) device=$2; shift 2 ;;
      --parts) parts=$2; shift 2 ;;
      --work) work=$2; shift 2 ;;
      *) fail "what is $1?" ;;
    esac
  done
  mkdir -p "$out" && out=$(cd "$out" && pwd)
  work=${work:-$out/models} && mkdir -p "$work"
  bin=$here/bin
  [ -x "$bin/foretoken" ] || fail "no program in $bin; make a bundle with: benches/gpu.sh build BUNDLE"
  # Programs look for the workloads where they were built.
  local built; built=$(cat "$here/built-at")
  [ -e "$built/model/demo" ] || { mkdir -p "$built" && ln -sfn "$here/benches" "$built/benches" && ln -sfn "$here/model" "$built/model"; }
  local nvidia; nvidia=$(python3 -c 'import nvidia, glob; print(":".join(d for p in nvidia.__path__ for d in glob.glob(p + "/*/lib")))' 2>/dev/null)
  export LD_LIBRARY_PATH=${nvidia:+$nvidia:}${LD_LIBRARY_PATH:-}
  is_dry=0; [ "$device" = cpu ] && is_dry=1
  making=()
  shapes="llama-2-7b llama-3.1-8b 70b-layer" quick=() seconds=20
  [ $is_dry = 1 ] && shapes=carried quick=(--quick) seconds=0.2
  for part in ${parts//,/ }; do
    case $part in
      1) name=machine ;; 2) name=parity ;; 3) name=sanitizer ;; 4) name=kernels ;; 5) name=models ;;
      6) name=forward ;; 7) name=efficiency ;; 8) name=acceptance ;; 9) name=lossless ;; 10) name=peer ;; 11) name=graphs ;;
      *) fail "there is no part $part" ;;
    esac
    file=$out/$(printf %02d "$part")-$name
    echo "== $part $name"
    local start=$SECONDS status=ok
    # A shell of its own, and not behind `||`, where it would go on after an error.
    ( set -e; "part_$name" ) > "$file.log" 2>&1
    local code=$?
    [ $code = 0 ] || status="failed ($code)"
    printf '{"part": %s, "name": "%s", "status": "%s", "seconds": %s}\n' \
      "$part" "$name" "$status" $((SECONDS - start)) > "$file.status.json"
    echo "   $status, $((SECONDS - start)) s; $file.log"
    python3 "$here/gpu_table.py" "$out" > "$out/results.md"
  done
  echo "tables: $out/results.md"
}

part_machine() {
  {
    cat "$here/revision"
    uname -srm
    grep -m1 "model name" /proc/cpuinfo
    [ $is_dry = 1 ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv
  } | tee "$file.txt"
}

part_parity() {
  local test=cuda; [ $is_dry = 1 ] && test=launches
  timeout 540 "$bin/test-kernels" "$test" --test-threads=1 --nocapture | tee "$file.txt"
  ! grep -q "not run on a GPU" "$file.txt"
}

part_sanitizer() {
  [ $is_dry = 1 ] && { echo "not on a CPU"; return; }
  command -v compute-sanitizer || { echo "compute-sanitizer is not installed"; return 1; }
  for tool in memcheck racecheck initcheck; do
    timeout 170 compute-sanitizer --tool "$tool" --error-exitcode 9 "$bin/test-kernels" cuda::attention cuda::draws \
      cuda::what_passes cuda_graphs::a_replayed --test-threads=1 && echo "$tool: clean" || echo "$tool: status $?"
  done | tee "$file.txt"
  ! grep -q ": status" "$file.txt"
}

part_kernels() {
  timeout 540 "$bin/bench-device" --device "$device" "${quick[@]}" > "$file.jsonl"
}

# A model's folder, made when first asked for; nothing for the carried one.
model_of() {
  [ "$1" = carried ] && return
  [ -e "$work/$1/done" ] || { "$bin/random_model" "$1" "$work/$1" >&2 && touch "$work/$1/done"; }
  echo "--model $work/$1"
}

part_models() {
  for shape in $shapes; do
    model_of "$shape" > /dev/null &
    making+=($!)
  done
  for process in "${making[@]}"; do wait "$process"; done
}

part_forward() {
  : > "$file.txt"
  for shape in $shapes; do
    local model; model=$(model_of "$shape")
    echo "## $shape"
    # shellcheck disable=SC2086
    timeout 150 "$bin/bench-forward" $model --device "$device" --dtypes bfloat16 --seconds $seconds \
      --rows 1,2,4,8,16,32,64,256 | tee -a "$file.txt"
  done
}

part_efficiency() {
  : > "$file.txt"
  for shape in $shapes; do
    [ "$shape" = 70b-layer ] && continue
    local model; model=$(model_of "$shape")
    for nodes in 4 8 16; do
      echo "## $shape, $nodes draft tokens"
      # shellcheck disable=SC2086
      timeout 90 "$bin/bench-efficiency" $model --device "$device" --draft-tokens $nodes --verifies 10 | tee -a "$file.txt"
    done
  done
}

part_acceptance() {
  local questions=12; [ $is_dry = 1 ] && questions=1
  timeout 540 "$bin/bench-engine" --device "$device" --questions $questions --tokens 64 | tee "$file.txt"
}

part_lossless() {
  local tokens=96 text; [ $is_dry = 1 ] && tokens=24
  local prompts=("Once upon a time" "Write a haiku about rain." "def fibonacci(n):")
  for temperature in 0 0.7 1 1.3; do
    for prompt in "${prompts[@]}"; do
      local plain=
      for draft in "none 0" "trigram 4" "trigram 32" "lookup 16" "chimera 16" "auto 63" "none-eager 0" "auto-eager 63"; do
        local drafter=${draft% *} nodes=${draft#* } same=false
        local options=(--drafter "${drafter%-eager}")
        [ "$drafter" = "${drafter%-eager}" ] || options+=(--enforce-eager)
        [ "$nodes" = 0 ] || options+=(--max-draft-tokens "$nodes" --min-draft-tokens "$nodes")
        text=$("$bin/foretoken" generate --device "$device" -p "$prompt" --temperature "$temperature" --seed 1 \
          --max-tokens "$tokens" "${options[@]}")
        plain=${plain:-$text}
        [ -n "$text" ] && [ "$text" = "$plain" ] && same=true
        printf '{"temperature": %s, "prompt": "%s", "drafter": "%s", "nodes": %s, "same": %s}\n' \
          "$temperature" "$prompt" "$drafter" "$nodes" "$same"
      done
    done
  done | tee "$file.jsonl"
  ! grep -q '"same": false' "$file.jsonl"
}

part_peer() {
  local shape=llama-3.1-8b; [ $is_dry = 1 ] && shape=carried
  local folder=$here/model/demo; [ "$shape" = carried ] || folder=$(model_of $shape | cut -d' ' -f2)
  timeout 560 python3 "$here/gpu_peer.py" --model "$folder" --device "$device" --out "$file.jsonl" \
    --demo "$here/model/demo" $([ $is_dry = 1 ] && echo --quick)
}

# Time by rows, and tokens per second, with graphs and without. Part 9 compares the texts.
part_graphs() {
  local questions=6 rows=1,2,4,8,16,32,64,65,128,256,512
  [ $is_dry = 1 ] && questions=1 rows=1,8
  : > "$file.txt"
  for shape in $shapes; do
    local model; model=$(model_of "$shape")
    for eager in "" --enforce-eager; do
      echo "## $shape, ${eager:-graphs}"
      # shellcheck disable=SC2086
      timeout 90 "$bin/bench-forward" $model --device "$device" $eager --dtypes bfloat16 --seconds $seconds --rows $rows
    done
  done | tee -a "$file.txt"
  for eager in "" --enforce-eager; do
    echo "## the carried model, ${eager:-graphs}"
    timeout 120 "$bin/bench-engine" --device "$device" $eager --questions $questions --tokens 64 --workloads dialogue \
      --drafters auto --budgets 8 --batches 1,16
  done | tee -a "$file.txt"
}

case ${1:-} in
  build) build "${2:?BUNDLE}" ;;
  run) shift; run "${@:?OUT}" ;;
  *) sed -n '2,20p' "$0" | sed 's/^# \?//'; exit 2 ;;
esac
