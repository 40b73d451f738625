#!/bin/bash
# One call on a GPU machine. Usage: tools/train/run.sh STAGE OUT STATE
#
#   first      self-test, then the VAE and the detector (side by side where there are two GPUs), then a rehearsal of
#              the later stages on a few steps
#   base       the base transformer up to share $UNTIL of $TOTAL seconds
#   finish     the rest of the base transformer, few-step training, evaluation
#
# OUT gets what must survive the machine: at most 8 files below 16 MiB. STATE holds what earlier calls brought home.
set -u
stage=$1 out=$2 state=$3
tokenizer=models/demo/spiece.model
scratch=/tmp/kinetype-train
mkdir -p "$out" "$scratch"
gpus=$(nvidia-smi -L | wc -l)
export PYTHONUNBUFFERED=1

on() { # on GPU COMMAND...: run one stage on one GPU
    local gpu=$1
    shift
    CUDA_VISIBLE_DEVICES=$gpu python3 -m "tools.train.$1" "${@:2}"
}

ranks() { # ranks COMMAND...: run one stage on all GPUs
    local pids=() code=0
    for ((r = 0; r < gpus; r++)); do
        RANK=$r WORLD_SIZE=$gpus MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 python3 -m "tools.train.$1" "${@:2}" &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p" || code=1; done
    if [ $code != 0 ]; then kill "${pids[@]}" 2>/dev/null; fi
    return $code
}

rehearse() { # every later stage for a moment, on an untrained VAE
    local d=/tmp/rehearsal
    mkdir -p $d
    on "$1" train_vae --out $d --seconds 2 && cp "$2"/detector-* $d/ &&
        on "$1" train_dit --state $d --out $d --tokenizer $tokenizer --total 1000 --until .02 --pool 8 --scratch $d &&
        on "$1" train_dmd --state $d --out $d --tokenizer $tokenizer --seconds 12 --pool 4 &&
        on "$1" evaluate --state $d --out $d --tokenizer $tokenizer --steps 4 --prompts 32 --long 8 --last 12 --sheets
}

case $stage in
first)
    last=$((gpus - 1))
    (on $last selftest --tokenizer $tokenizer --speed && on $last detector --out "$out" --seconds "${DETECTOR:-110}" &&
        rehearse $last "$out") >"$out/side.log" 2>&1 &
    side=$!
    if [ "$gpus" = 1 ]; then wait $side; fi
    on 0 train_vae --out "$out" --seconds "${VAE:-330}" >"$out/vae.log" 2>&1 &
    main=$!
    sleep 45 # a stage that cannot start should not hold the machine
    if ! kill -0 $main 2>/dev/null; then
        tail -30 "$out/vae.log"
        cat "$out/side.log"
        exit 1
    fi
    wait $main
    tail -12 "$out/vae.log"
    wait $side
    cat "$out/side.log"
    if [ "$gpus" -gt 1 ]; then
        cp "$out"/vae-* "$out"/detector-* /tmp/rehearsal/ && rm -f /tmp/rehearsal/base.pt
        ranks train_dit --state /tmp/rehearsal --out /tmp/rehearsal --tokenizer $tokenizer --total 1000 --until .015 \
            --pool 8 --scratch /tmp/rehearsal
    fi
    ;;
base)
    ranks train_dit --state "$state" --out "$out" --tokenizer $tokenizer --total "$TOTAL" --until "$UNTIL" ${ARGS:-}
    on 0 evaluate --state "$state" --model "$out" --name base --out "$out" --tokenizer $tokenizer --steps 4 \
        --prompts 64 --last 0 --no-ceiling --sheets
    rm -f "$out"/switch-resunk*
    ;;
finish)
    work=/tmp/kinetype-finish
    mkdir -p $work && cp "$state"/* $work/
    ranks train_dit --state "$state" --out $work --tokenizer $tokenizer --total "$TOTAL" ${ARGS:-}
    ranks train_dmd --state $work --out $work --tokenizer $tokenizer --seconds "$DMD" ${DMD_ARGS:-}
    for name in dmd40 dmd70; do
        on $((gpus - 1)) evaluate --state $work --name $name --out $work --tokenizer $tokenizer --steps 4 --last 0 \
            --no-ceiling --prompts 128 &
    done
    on 0 evaluate --state $work --name dmd --out "$out" --tokenizer $tokenizer --sheets
    wait
    cp $work/dmd-* $work/base-* "$out"/
    ;;
esac
ls -la "$out"
