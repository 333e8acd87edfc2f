import Dispatch
import Explain
import Foundation
import Kernels
let a = CommandLine.arguments
var o = Options()
o.methods = a[3].split(separator: ",").map(String.init)
o.device = DeviceChoice(a[2])!
if let k = ProcessInfo.processInfo.environment["SHAPE"] { o.kernelShape = k == "gpu" ? .gpu : .cpu }
o.batch = Int(a[4])!
if let t = ProcessInfo.processInfo.environment["THREADS"] { o.threads = Int(t) }
func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }
var t = now()
let m = try Model(path: a[1], preprocessing: ProcessInfo.processInfo.environment["PRE"])
print("model", now() - t); t = now()
let s = try ExplanationSession(m, options: o)
print("session", now() - t, s.device, s.layer, s.workingMemory)
let rounds = Int(ProcessInfo.processInfo.environment["ROUNDS"] ?? "1")!
for _ in 0..<rounds {
    t = now()
    try s.explain(a[5...].map { .file($0) }) { i, r in
        let e = try r.get()
        if rounds == 1 { print(e.name, e.predictions.prefix(2).map { "\($0.index) \($0.label) \($0.probability)" }, e.explanations.map { "\($0.method) \($0.blank ?? "") \($0.map.values.prefix(8))" }, e.seconds) }
    }
    print("all", now() - t)
}
