#!/bin/bash
# Tests libwhitebox.so from C: Tests/Interface/interface.c under AddressSanitizer and LeakSanitizer, the example, and the header in C++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
library=.build/static/release
include=Sources/CWhitebox/include
out=.build/interface
rm -rf "$out" && mkdir -p "$out"
link=(-I "$include" -L "$library" -lwhitebox "-Wl,-rpath,$PWD/$library" -Wl,--allow-shlib-undefined -lm -pthread)

echo '#include "whitebox.h"' | c++ -x c++ -std=c++17 -Wall -Wextra -Werror -I "$include" -fsyntax-only -
cc -std=c11 -D_DEFAULT_SOURCE -g -Wall -Wextra -Werror -fsanitize=address Tests/Interface/interface.c "${link[@]}" -o "$out/interface"
# What lives as long as the process is no leak: threads that wait for work, and Swift's records of types.
LSAN_OPTIONS=suppressions=Tests/Interface/leaks.txt:print_suppressions=0 ASAN_OPTIONS=detect_leaks=1 \
    "$out/interface" models/squeezenet1.1.onnx demo/photos/coffee.png "$out/results"
cc -std=c11 -Wall -Wextra -Werror Examples/c/explain.c "${link[@]}" -o "$out/explain"
"$out/explain" models/squeezenet1.1.onnx demo/photos/coffee.png > "$out/explain.txt"
grep -q espresso "$out/explain.txt" || { cat "$out/explain.txt"; echo "The example should say espresso."; exit 1; }
# Of Swift nothing may be seen, nor may anything be missing.
if nm -D --defined-only "$library/libwhitebox.so" | grep -v ' whitebox_' | grep ' [TDBR] ' | head -5 | grep .; then
    echo "libwhitebox.so shows more than its header."
    exit 1
fi
