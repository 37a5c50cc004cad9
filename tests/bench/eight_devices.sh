#!/usr/bin/env bash
# Llama 3 8B, a mixture of experts and a change of layout on the eight devices of one host: the table of the README's headline.
#
#   tests/bench/eight_devices.sh build/bin/nemo-host [section.key=value ...]      on eight GPUs
#   RECIPE=FILE FEW=1 ACCELERATOR=cpu tests/bench/eight_devices.sh ...            the same on ranks of the CPU, for a small recipe
#
# Prints the layouts in bf16 and fp8 against FEW devices (2; losses must agree, `plan` stands beside), the mixture under eight expert ranks, and the
# losses of a run that goes from 8 devices to 4 and back to 8 against one that stays on 8. Ends with 1 where a run failed or losses differ by more
# than 1e-4 (bf16; GPU) or 1e-5 (CPU, fp32).
set -u
here=$(cd "$(dirname "$0")" && pwd)
host=${1:?usage: eight_devices.sh NEMO_HOST [section.key=value ...]}
shift
recipe=${RECIPE:-llama3_8b} few=${FEW:-2} accelerator=${ACCELERATOR:-gpu} hardware=${HARDWARE:-h100}
failed=0
if [ "$accelerator" = cpu ]; then
  precisions=(fp32) bound=1e-5
else
  precisions=(bf16-mixed fp8) bound=1e-4
fi

layouts() { # LAYOUTS settings...
  local names=$1
  shift
  python3 "$here/layouts.py" "$host" --recipe "$recipe" --devices 8 --few "$few" --few-layout "$([ "$few" = 1 ] && echo single || echo fsdp)" \
    --accelerator "$accelerator" --hardware "$hardware" --layouts "$names" "$@" || failed=1
}

for precision in "${precisions[@]}"; do
  echo "== $recipe, $precision"
  layouts zero1,fsdp,cp2,tp2+sp data.seq_length="${SEQUENCE:-8192}" data.global_batch_size=128 trainer.max_steps="${STEPS:-30}" \
    precision.plugin="$precision" "$@"
done
echo "== a mixture of eight experts in 4 layers of that size, under eight expert ranks"
layouts ep8 model.plugin=mixtral model.num_layers=4 data.seq_length="${SEQUENCE:-4096}" data.global_batch_size=64 trainer.max_steps=10 \
  precision.plugin="${precisions[0]}" "$@"

echo "== $recipe: 8 devices, then 4, then 8, against 8 all the way"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
train() { # NAME STEPS DEVICES STRATEGY settings...
  local name=$1 steps=$2 devices=$3 strategy=$4
  shift 4
  "$host" pretrain --recipe "$recipe" job.name="$name" log.dir="$folder" trainer.max_steps="$steps" trainer.devices="$devices" \
    trainer.accelerator="$accelerator" strategy.plugin="$strategy" data.global_batch_size=16 data.micro_batch_size=1 \
    data.seq_length="${SEQUENCE:-8192}" precision.plugin="${precisions[0]}" optim.schedule.decay_steps=12 optim.schedule.warmup_steps=1 \
    trainer.val_check_interval=0 trainer.log_every_n_steps=1 'log.loggers=["jsonl"]' checkpoint.every_n_steps=0 checkpoint.monitor=loss \
    checkpoint.keep_top_k=1 checkpoint.save_last=true checkpoint.resume=if-exists "$@" >"$folder/$name.log" 2>&1 ||
    { failed=1; grep -m3 '^error' "$folder/$name.log"; }
}
train stays 12 8 fsdp "$@"
train moves 4 8 fsdp "$@"
train moves 8 4 fsdp "$@"
train moves 12 8 zero1 "$@"
python3 - "$folder" "$bound" <<'PYTHON' || failed=1
import json, pathlib, sys
losses = lambda name: {r["step"]: r["loss"] for r in map(json.loads, (pathlib.Path(sys.argv[1]) / name / "metrics.jsonl").read_text().splitlines()) if "loss" in r}
stays, moves = losses("stays"), losses("moves")
apart = max(abs(stays[s] - moves[s]) / abs(stays[s]) for s in stays)
print(f"{len(stays)} steps, losses of step 12: {stays[12]:.6f} and {moves[12]:.6f}; at most {apart:.2e} apart, bound {sys.argv[2]}")
sys.exit(apart > float(sys.argv[2]))
PYTHON
exit $failed
