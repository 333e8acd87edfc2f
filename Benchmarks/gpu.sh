#!/bin/bash
# Everything that is to be measured on a GPU, in one go, from the folder that `make gpu-bundle` fills:
#
#   gpu.sh [--device opencl:N] [--out FOLDER]
#
#   app, lib/          the program, and the libraries it needs beside the system's C and C++ ones
#   gpu_torch.py       PyTorch on the same card, in the same call
#   Tools/             writes the networks with random weights (python3 with numpy and onnx)
#   models/, photos/   trained networks, photographs
#
# Prints the device and its driver; whether all bits are those of `cpu`, for each network; ResNet-50 Grad-CAM at several
# batch sizes beside PyTorch, as a table and as JSON rows; its roofline; and images per second from a folder of JPEGs, with
# what bounds them. Without a GPU it does the same on whatever OpenCL device there is, with smaller batches. Takes 3 to 8
# minutes on a GPU. Ends with 1 if bits differ.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD
device=
out=$here/results
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift 2 ;;
        --out) mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
        *) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
done
mkdir -p "$out"
export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export WHITEBOX_CACHE_DIR=$out/cache
app=$here/app
failed=0

say() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }
# Runs a command within so many seconds; a failure is said, and the rest goes on.
step() {
    local limit=$1; shift
    timeout "$limit" "$@" || { local code=$?; echo "This failed ($code): $*"; return $code; }
}

# Containers often have NVIDIA's driver without the file that tells the loader of it, though they may have PoCL's.
if ! grep -qs nvidia /etc/OpenCL/vendors/*.icd; then
    driver=$(ldconfig -p | sed -n 's/.*=> \(.*libnvidia-opencl.so.1\)$/\1/p' | head -1)
    [ -n "$driver" ] || driver=$(find /usr /opt -name 'libnvidia-opencl.so.1' 2> /dev/null | head -1)
    if [ -n "$driver" ]; then
        mkdir -p "$out/vendors"
        cp /etc/OpenCL/vendors/*.icd "$out/vendors/" 2> /dev/null
        echo "$driver" > "$out/vendors/nvidia.icd"
        export OCL_ICD_VENDORS=$out/vendors/
    fi
fi

say "The machine"
date -u
grep -m1 'model name' /proc/cpuinfo; nproc
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv 2> /dev/null || echo "nvidia-smi: none"
"$app" devices
if [ -z "$device" ]; then
    # The first GPU, else the first device.
    device=$("$app" devices --json | python3 -c '
import json, sys
found = [d for d in json.load(sys.stdin)["opencl"] if d["usable"]]
found.sort(key=lambda d: d["type"] != "gpu")
print(found[0]["name"] if found else "")')
fi
[ -n "$device" ] || { echo "There is no OpenCL device that can be used."; exit 8; }
kind=$("$app" devices --json | python3 -c '
import json, sys
print(next(d["type"] for d in json.load(sys.stdin)["opencl"] if d["name"] == sys.argv[1]))' "$device")
batches=1,8,32,128 rounds=7 copies=512
if [ "$kind" != gpu ]; then batches=1,4 rounds=2 copies=8; fi
echo "Measured: $device ($kind), batches $batches"

say "Networks"
for network in resnet50 mobilenet_v2 resnext50_32x4d; do
    [ -f "models/$network.onnx" ] || step 60 python3 Tools/models.py random --architecture $network --seed 0 --output "models/$network.onnx" ||
        rm -f "models/$network.onnx"
done
ls -l models/
measured=resnet50
if [ ! -f models/resnet50.onnx ]; then
    measured=squeezenet1.1
    echo "ResNet-50 could not be written, which takes python3 with numpy and onnx. SqueezeNet 1.1 is measured instead, without a peer."
fi
model=models/$measured.onnx

say "The same bits as cpu"
for each in models/*.onnx; do
    # ResNeXt and a slow device: bits are checked with what is small.
    if [ "$kind" != gpu ] && [ "$(stat -c %s "$each")" -gt 30000000 ]; then continue; fi
    step 120 "$app" verify --model "$each" --device "$device" || failed=1
done

say "$measured, Grad-CAM: milliseconds for a batch, by stage"
rm -f "$out/ours.json" "$out/torch.json"
step 120 "$app" bench --model "$model" --device "$device" --batch $batches --rounds $rounds --json > "$out/ours.json"
if [ $measured = resnet50 ] && python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    step 120 python3 gpu_torch.py --batch $batches --rounds $rounds --json "$out/torch.json"
else
    echo "No peer on this device: that takes ResNet-50, and PyTorch with CUDA."
fi
python3 - "$out/ours.json" "$out/torch.json" $measured << 'PYTHON'
import json, pathlib, sys

def rows(path):
    file = pathlib.Path(path)
    return json.loads(file.read_text()) if file.exists() and file.stat().st_size else None

ours, peers = rows(sys.argv[1]), rows(sys.argv[2]) or []
if not ours:
    sys.exit("There is no measurement of ours.")
for row in ours["batches"]:
    ms = row["milliseconds"]
    print(f"batch {row['batch']:>4}: {ms['whole']:9.2f} ms, {row['batch'] / ms['whole'] * 1e3:9.1f} images/s;  "
          f"forward {ms['forward']:.2f}, gradient {ms['gradient']:.2f}, maps {ms['maps']:.2f} ms")
    for peer in peers:
        if peer["batch"] == row["batch"]:
            print(json.dumps({"network": sys.argv[3], "work": "gradcam", "device": ours["device"], "batch": row["batch"],
                              "peer": peer["peer"], "peer_version": peer["version"], "ours_ms": ms["whole"], "peer_ms": peer["ms"],
                              "ratio": peer["ms"] / ms["whole"]}))
PYTHON

say "Roofline of $measured at the largest batch"
step 120 "$app" bench --model "$model" --device "$device" --batch ${batches##*,} --rounds 2 --layers > "$out/layers.txt" && cat "$out/layers.txt"

say "From a folder of JPEGs to maps on disk"
jpegs=$out/jpegs
mkdir -p "$jpegs"
photos=(photos/*.jp*g)
# Copies, since a file that several names lead to counts once.
for i in $(seq $copies); do cp "${photos[$((i % ${#photos[@]}))]}" "$jpegs/$i.jpg"; done
batch=${batches##*,}
start=$(date +%s.%N)
step 120 "$app" explain "$jpegs" --model "$model" --device "$device" --batch "$batch" --output "$out/maps" --force > "$out/explain.txt"
end=$(date +%s.%N)
step 60 "$app" bench "$jpegs" --model "$model" --device "$device" --batch "$batch" --rounds 2 --json > "$out/photos.json"
python3 - "$out/photos.json" "$start" "$end" "$copies" "$(nproc)" << 'PYTHON'
import json, pathlib, sys

start, end, count, cores = map(float, sys.argv[2:6])
print(f"{count:.0f} photographs in {end - start:.2f} s, with start-up, reading the network, drawing and writing: {count / (end - start):.1f} images/s")
text = pathlib.Path(sys.argv[1]).read_text()
if text:
    row = json.loads(text)["batches"][0]
    ms, batch = row["milliseconds"], row["batch"]
    parts = {"decoding and resizing, on all cores": ms["decode"] * batch / cores,
             "computing": ms["forward"] + ms["gradient"] + ms["maps"],
             "upload, at 12 GB/s": batch * 3 * 224 * 224 * 4 / 12e6}
    print(f"A batch of {batch} takes {ms['whole']:.1f} ms by itself. One after the other its parts would take: "
          + "; ".join(f"{name} {time:.1f} ms" for name, time in parts.items()) + f". They overlap; {max(parts, key=parts.get)} bounds them.")
PYTHON

say "Done"
rm -rf "$jpegs" "$out/maps" "$out/cache"
exit $failed
