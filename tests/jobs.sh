# shellcheck shell=bash
# The jobs of `./run test`, in CI's order: cheap and telling ones first. Sourced by ./run.
#
# A job prints its own output and leaves three numbers in $passed, $failed, $skipped. A job that breaks
# before it counts anything (a build that fails) counts as one failure, and the others still run: one
# report names everything that is wrong.

logs=build-test/logs
table=()
total_passed=0 total_failed=0 total_skipped=0

# quiet NAME COMMAND...: output goes to a log; its end is shown when the command fails.
quiet() {
    local log=$logs/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null && return 0
    tail -n 80 "$log"
    echo "failed: $*"
    return 1
}

# configure DIR OPTION...: a build directory with exactly these options.
configure() {
    local dir=$1 stamp="$*"
    shift
    [ "$(cat "$dir/.options" 2>/dev/null)" = "$stamp" ] && return 0
    rm -rf "$dir"
    quiet "${dir##*/}-setup" meson setup "$dir" "$@" && echo "$stamp" >"$dir/.options"
}

# counted LABEL LOG: adds up the summary that `meson test` ends with.
counted() {
    awk -v label="$1" '$1 " " $2 == label || $1 == label { n = $NF } END { print n + 0 }' "$2"
}

# meson_test DIR NAME OPTION...: runs tests of a build directory and counts them.
meson_test() {
    local dir=$1 log=$logs/$2.log
    shift 2
    meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 2 "$@" </dev/null 2>&1 | tee "$log"
    passed=$(($(counted Ok: "$log") + $(counted "Expected Fail:" "$log")))
    failed=$(($(counted Fail: "$log") + $(counted "Unexpected Pass:" "$log") + $(counted Timeout: "$log")))
    skipped=$(counted Skipped: "$log")
    [ $((passed + failed)) -gt 0 ]
}

# proc_there: sanitizers and Chromium read /proc; a bare chroot may lack it.
proc_there() {
    [ -r /proc/self/maps ] && return 0
    echo "skipped: /proc is not mounted"
    skipped=1
    return 1
}

job_style() {
    local log=$logs/style.log
    python3 tests/style/check.py </dev/null 2>&1 | tee "$log"
    passed=$(grep -c '^ok ' "$log")
    failed=$(grep -c '^FAIL ' "$log")
    skipped=$(grep -c '^skip ' "$log")
    [ $((passed + failed)) -gt 0 ]
}

job_build() {
    configure build-test/gcc -Dwerror=true -Dcuda=disabled && quiet gcc-build ninja -C build-test/gcc && passed=1
}

job_suites() {
    [ -f build-test/gcc/build.ninja ] || job_build || return 1
    passed=0
    meson_test build-test/gcc suites --timeout-multiplier 3
}

# The CUDA build compiles and links where nvcc is, and the suites run what needs no card; the rest is skipped
# here and for tests/cuda/suites.sh.
job_cuda() {
    command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || {
        echo "skipped: there is no nvcc"
        skipped=1
        return 0
    }
    configure build-test/cuda -Dwerror=true -Dcuda=enabled &&
        quiet cuda-build ninja -C build-test/cuda cli/kinetype tests/kernels/checkkern cuda-suites || return 1
    meson_test build-test/cuda cuda-suites --suite cuda --timeout-multiplier 3
}

# The sanitizers leave out the large golden cases: the tiny ones run the same code.
job_asan() {
    proc_there || return 0
    configure build-test/asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Dcuda=disabled &&
        quiet asan-build ninja -C build-test/asan || return 1
    ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1 \
        UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson_test build-test/asan asan --timeout-multiplier 10 --no-suite golden \
        --suite proto --suite engine --suite text --suite vae --suite server
}

# Our own threads only: ThreadSanitizer does not see into those of oneDNN's libgomp. The longest tests that start
# none but the kernels' pool (suite one-thread; the timeline's tests use that pool too) are left to asan.
job_tsan() {
    proc_there || return 0
    configure build-test/tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false \
        -Ddnnl=disabled -Dcuda=disabled && quiet tsan-build ninja -C build-test/tsan || return 1
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        meson_test build-test/tsan tsan --timeout-multiplier 10 --no-suite golden --no-suite one-thread \
        --suite proto --suite server --suite engine
}

job_clang() {
    CC=clang CXX=clang++ configure build-test/clang -Dwerror=true -Dcuda=disabled &&
        quiet clang-build ninja -C build-test/clang || return 1
    meson_test build-test/clang clang --timeout-multiplier 3 --no-suite web
}

# One command a file: several tests compile some files again, and clang-tidy 14 would not only check those as often,
# it believes every va_list to be uninitialised from the second time on.
tidy_commands() {
    mkdir -p build-test/tidy
    python3 -c 'import json, sys
commands = {c["file"]: c for c in json.load(sys.stdin)}
json.dump(list(commands.values()), sys.stdout)' \
        <build-test/clang/compile_commands.json >build-test/tidy/compile_commands.json
}

job_tidy() {
    local file
    [ -f build-test/clang/build.ninja ] || job_clang || return 1
    passed=0 failed=0 skipped=0
    tidy_commands || return 1
    : >"$logs/tidy.log"
    for file in $(git ls-files 'proto/*.c' 'engine/*.c' 'server/*.c' 'cli/*.c'); do
        if clang-tidy --quiet -p build-test/tidy "$file" 2>/dev/null >>"$logs/tidy.log"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "clang-tidy: $file"
        fi
    done
}

# run_job NAME: runs one job and adds it to the table.
run_job() {
    local started=$SECONDS
    say "$1"
    passed=0 failed=0 skipped=0
    "job_$1" || [ "$failed" -gt 0 ] || failed=1
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    table+=("$(printf '%-8s %7d %7d %8d %6d s' "$1" "$passed" "$failed" "$skipped" $((SECONDS - started)))")
}

run_jobs() {
    local jobs=() job
    set +e # a failing job is counted, not fatal
    case ${1-} in
    '') jobs=(style build cuda suites asan tsan) ;;
    --full) jobs=(style build cuda suites asan tsan clang tidy) ;;
    *) jobs=("$@") ;;
    esac
    for job in "${jobs[@]}"; do
        declare -F "job_$job" >/dev/null || die "there is no test job '$job'"
    done
    mkdir -p "$logs"
    for job in "${jobs[@]}"; do
        run_job "$job"
    done
    printf '\n%-8s %7s %7s %8s %8s\n' job passed failed skipped time
    printf '%s\n' "${table[@]}"
    printf '\n%d passed, %d failed, %d skipped\n' "$total_passed" "$total_failed" "$total_skipped"
    [ "$total_failed" -eq 0 ]
}
