// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [.enableUpcomingFeature("ExistentialAny")]

/// A module of Slipway; it may depend only on modules named before it in this file.
func module(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
  .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
  .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let http: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let grpc: Target.Dependency = .product(name: "GRPCCore", package: "grpc-swift-2")
let grpcProtobuf: Target.Dependency = .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let grpcTransport: Target.Dependency = .product(
  name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "slipway",
  products: [.executable(name: "slipway", targets: ["slipway"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
    .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
    .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
  ],
  targets: [
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .target(name: "CArchive"),
    .systemLibrary(name: "CAttributes"),

    module("Diagnostics"),
    module("Digests", [crypto, "CXXHash"]),
    module("Files", ["Diagnostics", "Digests", system]),
    module("Manifests", ["Diagnostics", "Digests", "Files", "CYAML"]),
    module("Graph", ["Diagnostics", "Digests", "Files"]),
    module("Caching", ["Diagnostics", "Digests", "Files", "CAttributes", system]),
    .target(
      name: "RemoteExecutionAPI", dependencies: ["Digests", protobuf, grpc, grpcProtobuf],
      exclude: ["Protos", "generate"], swiftSettings: strict),
    .target(name: "CSandbox"),
    module(
      "Kinds",
      resources: [
        .embedInCode("python.yaml"), .embedInCode("manifest-only.yaml"), .embedInCode("metadata-only.yaml"),
        .embedInCode("python/fetch.py"), .embedInCode("python/plan.py"), .embedInCode("python/site.py"),
        .embedInCode("templates/python-source/README.md"),
        .embedInCode("templates/python-source/icon.svg"),
        .embedInCode("templates/python-source/main.py"),
        .embedInCode("templates/python-source/metadata.yaml"),
        .embedInCode("templates/python-source/pyproject.toml"),
        .embedInCode("templates/python-source/requirements-dev.lock"),
        .embedInCode("templates/python-source/source_example/__init__.py"),
        .embedInCode("templates/python-source/source_example/source.py"),
        .embedInCode("templates/python-source/unit_tests/test_source.py"),
      ]),
    module("Sandboxing", ["Diagnostics", "CSandbox", system]),
    module("OCI", ["Diagnostics", "Digests", "Files", "Caching", "CArchive", system]),
    module(
      "Distribution",
      ["Diagnostics", "Digests", "Caching", "OCI", system, http, nio, nioHTTP, nioPosix, nioTLS]),
    module(
      "Publishing",
      ["Diagnostics", "Digests", "Files", "Manifests", "Caching", "OCI", "Distribution", system]),
    module(
      "RemoteCaching",
      [
        "Diagnostics", "Digests", "Files", "Caching", "CArchive", "Distribution", "RemoteExecutionAPI", system, http,
        nio, nioHTTP,
        nioTLS, crypto, protobuf, grpc, grpcTransport,
      ]),
    module(
      "RemoteExecution",
      [
        "Diagnostics", "Digests", "Caching", "RemoteExecutionAPI", "RemoteCaching", protobuf, grpc, system,
      ]),
    module("Events", ["Caching"]),
    module("Scheduling"),
    module("Reporting", ["Events", "OCI"], resources: [.embedInCode("report.html")]),
    module("Console", ["Diagnostics", "Caching", "Events", system]),
    module("Planning", ["Diagnostics", "Digests", "Files", "Manifests", "Graph", "Caching", "RemoteExecutionAPI"]),
    module(
      "Engine",
      [
        "Diagnostics", "Digests", "Files", "Manifests", "Graph", "Caching", "Kinds", "Sandboxing", "OCI",
        "Distribution", "Publishing", "RemoteExecutionAPI", "RemoteCaching", "RemoteExecution", "Events", "Reporting",
        "Scheduling", "Planning", system,
      ]),
    .executableTarget(
      name: "slipway",
      dependencies: [
        "Diagnostics", "Digests", "Files", "Manifests", "Graph", "Caching", "Sandboxing", "OCI", "Publishing",
        "RemoteCaching", "Events", "Reporting", "Planning", "Engine", "Console", arguments, system,
      ], swiftSettings: strict,
      // SwiftPM exports every symbol of an executable: 35,000 here, which the loader and the Swift runtime look through
      // at each start, and none of whose code the linker may leave out. And 129,000 addresses would have to be written
      // at each start if the executable could lie anywhere: a millisecond. Libraries and stack are still laid at random.
      linkerSettings: [
        .unsafeFlags(
          ["-Xlinker", "--no-export-dynamic", "-Xclang-linker", "-no-pie"], .when(configuration: .release))
      ]),

    // Random numbers that repeat, for tests.
    .target(name: "SeededRandom", path: "Tests/SeededRandom", swiftSettings: strict),
    tests("ReportingTests", ["Reporting", "Events", "OCI"]),
    tests("TidyTests", []),
    tests("RemoteExecutionAPITests", ["RemoteExecutionAPI", system], exclude: ["compare-descriptors.py"]),
    tests(
      "PlanningTests",
      [
        "SeededRandom", "Planning", "RemoteExecutionAPI", "Manifests", "Graph", "Files", "Caching", "Digests",
        "Diagnostics",
      ]),
    tests(
      "RemoteCachingTests",
      [
        "RemoteCaching", "RemoteExecutionAPI", "Caching", "Digests", "Diagnostics", "Distribution", "SeededRandom",
        "TestServers", system, protobuf,
      ]),
    tests(
      "RemoteExecutionTests",
      [
        "RemoteExecution", "RemoteCaching", "RemoteExecutionAPI", "Caching", "Digests", system, protobuf, grpc,
        grpcProtobuf, grpcTransport,
      ]),
    tests(
      "EngineTests",
      [
        "SeededRandom", "TestServers", "Engine", "Planning", "Caching", "Digests", "Diagnostics", "Files", "Graph",
        system,
      ]
    ),
    tests("DiagnosticsTests", ["Diagnostics"]),
    tests("DigestsTests", ["Digests"]),
    tests("OCITests", ["OCI", "CArchive", "Caching", "Diagnostics", "Digests", system]),
    tests(
      "DistributionTests", ["Distribution", "OCI", "Caching", "Diagnostics", "Digests", "TestServers", system],
      exclude: ["Servers"]),
    tests(
      "PublishingTests",
      ["Publishing", "Distribution", "Manifests", "OCI", "Caching", "Diagnostics", "Digests", "TestServers", system]),
    tests(
      "ManifestsTests", ["SeededRandom", "Manifests", "Diagnostics", "Files", "Kinds"],
      exclude: ["Corpus", "judge.py"]),
    tests("FilesTests", ["SeededRandom", "Files", "Diagnostics", "Digests", system]),
    tests("SchedulingTests", ["SeededRandom", "Scheduling"]),
    tests("ConsoleTests", ["SeededRandom", "Console", "Caching", "Events", "Diagnostics", system]),
    tests("SandboxingTests", ["Sandboxing", "CSandbox", "Diagnostics", "sandbox-probe", system], exclude: ["Attacks"]),
    tests("KindsTests", ["Kinds", system], exclude: ["scripts"]),
    .executableTarget(
      name: "sandbox-probe", dependencies: ["Diagnostics", "Sandboxing", system], path: "Tests/sandbox-probe",
      swiftSettings: strict),
    tests("GraphTests", ["SeededRandom", "Graph", "Diagnostics", "Files"]),
    // Runs the built executable; the dependency is there so that it is built.
    tests("EndToEndTests", ["SeededRandom", "slipway", "TestServers", system], exclude: ["Goldens", "Terminal"]),
    .target(
      name: "TestServers", dependencies: ["Diagnostics", system], path: "Tests/TestServers", swiftSettings: strict),
    tests("CachingTests", ["Caching", "CAttributes", "Diagnostics", "Digests", "Files", system]),
  ],
  swiftLanguageModes: [.v6]
)
