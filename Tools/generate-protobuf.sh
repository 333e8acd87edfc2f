#!/bin/sh
# Makes Sources/ONNX/onnx.pb.swift from proto/onnx.proto. Run it after a change to that file, and commit both.
#
# Needs protoc (Debian: protobuf-compiler). The Swift plugin is built from the swift-protobuf that Package.swift
# resolves, so that the generated code fits the library it is linked with.
set -eu
cd "$(dirname "$0")/.."

swift package resolve
plugin_build=.build/protoc-gen-swift
swift build -c release --package-path .build/checkouts/swift-protobuf --scratch-path "$plugin_build" \
    --product protoc-gen-swift
protoc --proto_path=proto \
    --plugin=protoc-gen-swift="$plugin_build/release/protoc-gen-swift" \
    --swift_opt=Visibility=Package \
    --swift_out=Sources/ONNX onnx.proto
