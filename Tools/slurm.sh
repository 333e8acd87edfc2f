#!/bin/bash
# Walks through Examples/slurm on this one machine: an array of eight tasks under Slurm's own daemons, of which one is cancelled, one is killed, and one
# is requeued; all go on, are merged, and must have the bytes of one run that nobody disturbed.
#
#   slurm.sh APP MODEL PHOTOS      PHOTOS is a folder of pictures
set -euo pipefail

app=$(realpath "$1")
model=$(realpath "$2")
photos=$(realpath "$3")
example=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../Examples/slurm/explain.sbatch")
[[ $(id -u) -eq 0 ]] || { echo "slurm: Slurm's daemons are started by root; run this as root." >&2; exit 1; }

place=$(mktemp -d)
chmod 755 "$place"
daemons=()
stop() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$place"
}
trap stop EXIT

# munge tells the daemons from each other; its key, socket and log lie here, so that none of the machine's are touched.
mkdir -p "$place"/{munge,state,spool}
chown munge "$place/munge"
head -c 1024 /dev/urandom >"$place/munge/key"
chown munge "$place/munge/key" && chmod 400 "$place/munge/key"
as_munge=(setpriv --reuid munge --regid munge --clear-groups)
"${as_munge[@]}" munged --foreground --force --key-file="$place/munge/key" --socket="$place/munge/socket" --pid-file="$place/munge/pid" \
    --log-file="$place/munge/log" --seed-file="$place/munge/seed" 2>"$place/munged.err" &
daemons+=($!)
host=$(hostname -s)
cat >"$place/slurm.conf" <<EOF
ClusterName=whitebox
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
CredType=cred/munge
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1024 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
export SLURM_CONF="$place/slurm.conf"
slurmctld -D -c 2>"$place/slurmctld.err" & daemons+=($!)
slurmd -D -N "$host" 2>"$place/slurmd.err" & daemons+=($!)
for _ in $(seq 60); do
    [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]] && break
    sleep 1
done
[[ $(sinfo --noheader --format=%t) == idle ]] || { echo "slurm: the daemons did not start:" >&2; tail -n 5 "$place"/slurm*.log >&2; exit 1; }

# Enough pictures that a task can be caught at work.
cd "$place"
mkdir work && cd work
for round in $(seq 200); do find "$photos" -type f \( -name '*.jpg' -o -name '*.png' \) | sort | sed "s|.*|{\"image\": \"&\", \"id\": \"$round/&\"}|"; done |
    sed -E 's|("id": "[0-9]+)/.*/([^/"]*)"|\1/\2"|' >photos.txt
echo "slurm: $(wc -l <photos.txt) pictures, eight tasks"
export WHITEBOX_APP=$app DEVICE=cpu PACK_SIZE=5
job=$(sbatch --parsable --array=1-8%1 --export=ALL "$example" photos.txt "$model" parts)

state() { squeue --noheader --array --states=all --job "${job}_$1" --format=%T 2>/dev/null | head -n 1; }
journal() { [[ -s parts/$1/journal.jsonl ]]; }
await() { for _ in $(seq 1200); do "$@" && return; sleep 0.05; done; echo "slurm: waited in vain for: $*" >&2; exit 1; }
ended() { [[ $(state "$1") =~ COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL ]]; }

pending() { [[ $(state "$1") == PENDING ]]; }
await journal 1
pkill -KILL -f -- "--output parts/1 " # as when memory runs out; Slurm calls that a failure
await journal 2
scontrol requeue "${job}_2" # it comes again by itself, after two minutes if nobody says now
await journal 3
scancel "${job}_3" # as an administrator would
await pending 2
scontrol update "JobId=${job}_2" StartTime=now
for task in $(seq 8); do await ended "$task"; done
echo "slurm: the tasks are $(for task in $(seq 8); do state "$task"; done | tr '\n' ' ')"
left=$(for task in $(seq 8); do [[ $(state "$task") == COMPLETED ]] || echo "$task"; done | paste -sd,)
if "$app" merge parts/* --output early 2>early.txt; then
    echo "slurm: a merge of tasks that were ended did not say so" >&2
    exit 1
fi
sed 's/^/slurm:   /' early.txt
job=$(TASKS=8 sbatch --parsable --array="$left" --export=ALL "$example" photos.txt "$model" parts)
for task in ${left//,/ }; do await ended "$task"; done
echo "slurm: once more tasks $left: $(for task in ${left//,/ }; do state "$task"; done | tr '\n' ' ')"
grep -h "images explained\|ended by" slurm-*.log | sed 's/^/slurm:   /' || true

"$app" merge parts/* --output merged
"$app" explain --list photos.txt --model "$model" --pack --pack-size "$PACK_SIZE" --device cpu --output whole --quiet >/dev/null
diff -r merged whole
echo "slurm: merged, they are the bytes of one run: $(find whole -type f | wc -l) files"
