#!/usr/bin/env bash
# tests/bench/sanitize_gpu.sh - the CUDA backend's tests under compute-sanitizer, in shards short enough to be run one by one.
#
# usage: sanitize_gpu.sh [-t TOOL[,TOOL]] [-s SECONDS] [-j JOBS] [-f FILTER] [-o FOLDER] BIN [PROGRAM=SHARDS ...]
#   BIN      folder of the test programs          PROGRAM=SHARDS  default: the three programs below, by the shards given there
#   -t       memcheck, racecheck, synccheck, initcheck or plain (no sanitizer); default memcheck,racecheck
#   -s       seconds that a shard may take; default 60            -j  shards run side by side; default 1
#   -f       a gtest filter for all programs; default '*'         -o  folder for the logs; default a new one under TMPDIR
# COMPUTE_SANITIZER names the tool, default: the one in PATH or in the CUDA toolkit. SANITIZER_OPTIONS are added to its command line.
# racecheck watches this project's kernels only: those of libraries are not ours to mend.
# A shard in which the tool itself fails ("Internal Sanitizer Error") says TOOL; it is run again in four parts, alone on the device. Seen with
# racecheck of CUDA 13.0 in the first test whose product has a bias or a slope in cuBLASLt's epilogue, and in all behind it; without them:
# -f '*:-*linear_bias*:*linear*activation*', whose kernels of this project (sums of biases, the check of products) other tests launch too.
# One line per shard, then a total; ends with 1 where a shard failed, found something or was stopped.
set -u

tools=memcheck,racecheck seconds=60 jobs=1 filter='*' logs=
while getopts t:s:j:f:o: option; do
  case $option in
    t) tools=$OPTARG ;;
    s) seconds=$OPTARG ;;
    j) jobs=$OPTARG ;;
    f) filter=$OPTARG ;;
    o) logs=$OPTARG ;;
    *) sed -n '4,14s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { sed -n '4,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
bin=$1
shift
[ $# -gt 0 ] || set -- test_backend_cuda=24 test_backend_cuda_precision=8 test_backend_cuda_attention=16
logs=${logs:-$(mktemp -d)}
mkdir -p "$logs"

find_sanitizer() {
  command -v compute-sanitizer && return
  for at in /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer; do
    [ -x "$at" ] && echo "$at" && return
  done
  return 1
}
sanitizer=${COMPUTE_SANITIZER:-$(find_sanitizer)}
case ,$tools, in
  ,plain,) ;;
  *) [ -n "$sanitizer" ] && [ -x "$sanitizer" ] || { echo "compute-sanitizer is not found; it is part of the CUDA toolkit: set COMPUTE_SANITIZER" >&2; exit 2; } ;;
esac

command_of() { # TOOL: the words before the program
  case $1 in
    plain) ;;
    racecheck) echo "$sanitizer --tool racecheck --kernel-regex kns=nemo --error-exitcode 99 ${SANITIZER_OPTIONS:-}" ;;
    *) echo "$sanitizer --tool $1 --error-exitcode 99 ${SANITIZER_OPTIONS:-}" ;;
  esac
}

count() { grep -oE "$2" "$1" | grep -oE '[0-9]+' | tail -1; }

shard() { # TOOL PROGRAM INDEX SHARDS [last]
  local log="$logs/$1-$2-$3.log" start=$SECONDS rc verdict summary
  # shellcheck disable=SC2046
  GTEST_TOTAL_SHARDS=$4 GTEST_SHARD_INDEX=$3 timeout -k 5 "$seconds" $(command_of "$1") "$bin/$2" --gtest_filter="$filter" >"$log" 2>&1
  rc=$?
  summary=$(grep -oE '(ERROR|RACECHECK) SUMMARY:.*' "$log" | tail -1)
  case $rc in
    0) verdict=ok ;;
    99) verdict=FOUND ;;
    124 | 137) verdict=STOPPED ;;
    *) verdict="FAILED($rc)" ;;
  esac
  [ $rc -eq 0 ] || ! grep -q 'Internal Sanitizer Error' "$log" || verdict=TOOL
  [ $rc -ne 0 ] || [ "$1" = plain ] || [ -n "$summary" ] || { verdict='FAILED(no summary)' rc=1; }
  printf '%-9s %-28s shard %2d/%-2d  %-9s passed %3d  skipped %3d  failed %2d  %3d s  %s\n' "$1" "$2" $(($3 + 1)) "$4" "$verdict" \
    "$(count "$log" 'PASSED  \] [0-9]+' || echo 0)" "$(count "$log" 'SKIPPED \] [0-9]+' || echo 0)" \
    "$(count "$log" 'FAILED  \] [0-9]+' || echo 0)" $((SECONDS - start)) "${summary:-}"
  if [ "$verdict" = TOOL ] && [ "${5:-}" != last ]; then
    echo "$1 $2 $3 $4" >>"$logs/again"
  elif [ $rc -ne 0 ]; then
    echo "$log" >>"$logs/bad"
  fi
}

rm -f "$logs/bad" "$logs/again"
total=0
for tool in ${tools//,/ }; do
  for entry in "$@"; do
    shards=${entry#*=} program=${entry%%=*}
    [ -x "$bin/$program" ] || { echo "$bin/$program is not there" >&2; exit 2; }
    for ((i = 0; i < shards; ++i)); do
      while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
      shard "$tool" "$program" "$i" "$shards" &
      total=$((total + 1))
    done
  done
done
wait
if [ -f "$logs/again" ]; then
  while read -r tool program index shards; do # tests of number index modulo shards, in four parts
    for ((part = 0; part < 4; ++part)); do shard "$tool" "$program" $((index + part * shards)) $((4 * shards)) last; done
    total=$((total + 3))
  done <"$logs/again"
fi
bad=$([ -f "$logs/bad" ] && wc -l <"$logs/bad" || echo 0)
echo "$total shards, $bad not clean; logs in $logs"
[ "$bad" -eq 0 ]
