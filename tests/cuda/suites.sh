#!/usr/bin/env bash
# Everything that needs a card, on a machine that has little else: a C compiler, meson, ninja, CUDA and jansson.
#
#   tests/cuda/suites.sh [--sanitize] [--golden DIR] [BUILD_DIR]
#
# The golden cases in fp32 (../shared/golden unless given), every kernel against the C reference, the engine's promises, the
# bounds of a pass, the drift of a stream; with --sanitize also memcheck and racecheck over the kernel tests, which takes
# minutes. Logs are in BUILD_DIR/suites (build-gpu). Ends with a count; exits non-zero if anything failed, 77 without a card.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

build=build-gpu golden=../shared/golden sanitize=0
while [ $# -gt 0 ]; do
    case $1 in
    --sanitize) sanitize=1 ;;
    --golden)
        golden=${2:?--golden wants a directory}
        shift
        ;;
    -*)
        echo "usage: tests/cuda/suites.sh [--sanitize] [--golden DIR] [BUILD_DIR]" >&2
        exit 2
        ;;
    *) build=$1 ;;
    esac
    shift
done
nvidia-smi -L 2>/dev/null || {
    echo "skipped: there is no card"
    exit 77
}

[ -f "$build/build.ninja" ] ||
    meson setup "$build" -Dcuda=enabled -Ddnnl=disabled -Dserver=disabled -Dsentencepiece=disabled -Dnvenc=disabled || exit 1
ninja -C "$build" cli/kinetype tests/kernels/checkkern cuda-suites cuda-alone || exit 1
mkdir -p "$build/suites"
passed=0 failed=0 skipped=0

# run SECONDS NAME COMMAND...: one test, its output in a log, its verdict on a line.
run() {
    local limit=$1 name=$2 begun=$SECONDS log rc
    shift 2
    log=$build/suites/${name//[^a-z0-9-]/_}.log
    timeout "$limit" "$@" >"$log" 2>&1
    rc=$?
    case $rc in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    printf '%-46s %4d s  %s\n' "$name" $((SECONDS - begun)) "$(verdict $rc "$log")"
}

verdict() {
    case $1 in
    0) echo ok ;;
    77) echo skipped ;;
    124) echo "FAIL: not finished in time ($2)" ;;
    *) echo "FAIL ($2)" && tail -n 5 "$2" ;;
    esac
}

# memcheck COMMAND..., racecheck COMMAND...: hazards inside NVIDIA's own kernels (nvjet: cublasLt) are theirs.
memcheck() {
    compute-sanitizer --tool memcheck --error-exitcode 9 "$@"
}
racecheck() {
    local out
    out=$(compute-sanitizer --tool racecheck "$@" 2>&1)
    local rc=$?
    echo "$out"
    ! grep 'Race reported' <<<"$out" | grep -qv ' at nvjet_' && [ $rc -eq 0 ]
}
export -f memcheck racecheck

for config in "$golden"/*/config.json; do
    [ -f "$config" ] && run 120 "golden ${config%/config.json}" "$build/cli/kinetype" golden "${config%/config.json}" \
        --device cuda --precision fp32
done
for precision in fp32 bf16; do
    run 180 "checkkern $precision" "$build/tests/kernels/checkkern" --device cuda --precision $precision
done
run 120 "fused and 8-bit ops" "$build/tests/cuda/test_fused"
run 120 "attention alone" "$build/tests/cuda/attention_bench"
run 120 "convolutions alone" "$build/tests/cuda/conv_bench" check
run 120 "convolutions alone, 8 bits" "$build/tests/cuda/conv_bench" check 0 1
run 120 "convolutions: the same bits" "$build/tests/cuda/conv_bench" same
run 120 "engine" "$build/tests/cuda/test_engine" models/demo
run 300 "one layer" "$build/tests/cuda/layer" models/longlive-1.3b
run 120 "bounds of a pass notice faults" "$build/tests/cuda/faults" models/longlive-1.3b
run 300 "drift" "$build/tests/cuda/drift" models/longlive-1.3b
run 120 "pixels of the VAE" "$build/tests/cuda/vae_decode" models/longlive-1.3b --no-timing
if [ $sanitize -eq 1 ]; then
    for tool in memcheck racecheck; do
        # shellcheck disable=SC2016
        check=(bash -c '"$@"' sanitize "$tool")
        run 240 "$tool: fused and 8-bit ops" "${check[@]}" "$build/tests/cuda/test_fused"
        run 240 "$tool: attention alone" "${check[@]}" "$build/tests/cuda/attention_bench" --small
        run 240 "$tool: convolutions alone" "${check[@]}" "$build/tests/cuda/conv_bench" check
        run 240 "$tool: checkkern" "${check[@]}" "$build/tests/kernels/checkkern" --quick --device cuda --precision bf16
    done
fi
printf '\n%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
