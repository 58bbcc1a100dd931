// libFuzzer's entry for everything that reads a manifest. It is compiled as one module with what it tests:
//
//   swiftc -sanitize=fuzzer,address -parse-as-library -O -package-name slipway \
//     -I Sources/CYAML $(pkg-config --cflags --libs yaml-0.1) \
//     Tests/Fuzz/FuzzManifests.swift [the sources of Diagnostics, Files/Glob, Files/WorkspacePath and Manifests] \
//     -o fuzz-manifests
//   ASAN_OPTIONS=detect_leaks=0 ./fuzz-manifests -max_total_time=60 CORPUS
//
// `Tests/Fuzz/build.sh` does that: inside one module the sources must not import one another.

/// The first byte says which file the rest is taken for.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzManifests(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: start, count: count)
  guard let selector = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  var list = DiagnosticList()
  let source = SourceText(file: "x", bytes: bytes, role: selector % 5 == 3 ? .data : .template)
  switch selector % 5 {
  case 0: _ = WorkspaceSettings.decode(source, diagnostics: &list)
  case 1: _ = TargetsFile.decode(source, diagnostics: &list)
  case 2:
    if let kind = Kind.decode(source, diagnostics: &list) { load(kind, &list) }
  case 3: _ = ConnectorMetadata.decode(source, diagnostics: &list)
  default:
    let context = LoadingContext(settings: WorkspaceSettings(), kinds: [], platform: "linux/amd64")
    let package = loadPackage(
      path: WorkspacePath(unchecked: "a/b"), metadata: metadata, targets: source, files: ["a.py", "b/c.py"],
      context: context, diagnostics: &list)
    for target in package?.targets ?? [] { _ = target.canonicalText }
  }
  for diagnostic in list.sorted { _ = diagnostic.rendered }
  return 0
}

private let metadata = SourceText(
  file: "metadata.yaml", text: "data: {dockerImageTag: 1.0.0, x: [a, {b: ~}], y: \"${z}\", tags: [t]}", role: .data)

private func load(_ kind: Kind, _ list: inout DiagnosticList) {
  let context = LoadingContext(settings: WorkspaceSettings(), kinds: [kind], platform: "linux/amd64")
  let package = loadPackage(
    path: WorkspacePath(unchecked: "a/b"), metadata: metadata, targets: nil, files: ["a", "a.py", "b/c.py"],
    context: context, diagnostics: &list)
  for target in package?.targets ?? [] { _ = target.canonicalText }
}
