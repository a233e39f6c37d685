#!/bin/sh
# Base and aligned model through lmms-eval, in an environment of its own, and then compared item by item.
#
#   configs/recipes/lmms_eval.sh RUN_DIR BASE MODEL TASKS OUT_DIR
#   configs/recipes/lmms_eval.sh runs/silkie Qwen/Qwen2.5-VL-7B-Instruct qwen2_5_vl mmmu_val,mathvista_testmini runs/wide
#
# RUN_DIR   a run folder with a trained checkpoint (or the checkpoint)
# BASE      what it was trained from: a folder or a name of the hub
# MODEL     lmms-eval's name of the family (`lmms-eval models` lists them)
# TASKS     as in --tasks; graded tasks need their grader's key in the environment
# OUT_DIR   what is made: merged/, base/, aligned/
#
# MODEL_ARGS  more of --model_args, the same for both, such as attn_implementation=sdpa
# LIMIT       only so many items of each task: try 8 first
# LMMS_EVAL   an environment that has lmms-eval; default build/lmms-eval, made where it is missing
set -eu
[ $# -eq 5 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2; }
run=$1 base=$2 model=$3 tasks=$4 out=$5
engine=${LMMS_EVAL:-build/lmms-eval}
if [ ! -x "$engine/bin/lmms-eval" ]; then
    python3 -m venv "$engine"
    "$engine/bin/python" -m pip install --quiet "lmms-eval==0.7.3" decord
fi
[ -d "$out/merged" ] || vlfeedback export merged "$run" --out "$out/merged"
ask() { # side, weights: the same code, arguments and prompts for both
    "$engine/bin/python" -m lmms_eval --model "$model" --tasks "$tasks" --batch_size 1 \
        --model_args "pretrained=$2${MODEL_ARGS:+,$MODEL_ARGS}" ${LIMIT:+--limit "$LIMIT"} \
        --log_samples --output_path "$out/$1"
    # It ends with 0 also where it failed.
    [ -n "$(find "$out/$1" -name '*samples_*.jsonl' 2>/dev/null)" ] || { echo "lmms-eval left no samples of $1" >&2; exit 1; }
}
ask base "$base"
ask aligned "$out/merged"
vlfeedback compare "$out/base" "$out/aligned"
