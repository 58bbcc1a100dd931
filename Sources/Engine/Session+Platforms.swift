import Caching
import Diagnostics
import Digests
import Files
import Graph
import Manifests
import Planning
import Synchronization

/// What is walked where images are for several platforms.
struct PlatformSpread {
  /// With the targets for other platforms besides.
  var plan: Plan
  /// What to walk: what is wanted for several platforms stands there once for each.
  var labels: [Label]
  /// Of the labels as they were asked for: their images, by platform in byte order.
  var images: [Label: [Label]] = [:]
  /// Labels whose images are for more platforms than those that are taken.
  var narrowed: Set<Label> = []
  /// Labels that are not walked: what keeps their platforms from being known, or that none of them is asked for.
  var failures: [Label: any Error] = [:]
}

extension Session {
  /// Lets every image among `labels` stand for all its platforms, or for those among them that are asked for.
  ///
  /// All other targets are for this machine's.
  ///
  /// - Parameters:
  ///   - chosen: As `--platform` has them; empty for all.
  ///   - rules: Which of the targets are such images.
  /// - Throws: A diagnostic when a platform was asked for that none of the images is for.
  func spread(
    _ labels: [Label], in plan: Plan, chosen: [String], rules: (Rule) -> Bool = \.isImage
  ) async throws -> PlatformSpread {
    var spread = PlatformSpread(plan: plan, labels: [])
    var survey = PlatformSurvey(plan, store: store, registries: registries)
    var roots: [String: [Label]] = [:]
    var offered: Set<String> = []
    for label in labels {
      guard let target = plan.targets[label], rules(target.rule) else {
        spread.labels.append(label)
        continue
      }
      do {
        let all = try await survey.platforms(of: label)
        offered.formUnion(all)
        let wanted = wantedPlatforms(among: all)
        let taken = chosen.isEmpty ? wanted : all.filter(chosen.contains)
        if taken.isEmpty {
          throw Diagnostic.error(
            "\(label) is not for \(chosen.joined(separator: ", "))",
            hints: ["it is for " + all.joined(separator: ", ")])
        }
        let variants = taken.map { platform -> Label in
          if platform == Workspace.platform { return label }
          roots[platform, default: []].append(label)
          return label.on(platform)
        }
        spread.images[label] = variants
        if !wanted.allSatisfy(taken.contains) { spread.narrowed.insert(label) }
        spread.labels += variants
      } catch {
        spread.failures[label] = error
      }
    }
    try checkChosen(chosen, offered, spread)
    spread.plan = try adding(roots.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }, to: plan)
    return spread
  }

  /// Those that `slipway.yaml` narrows an image's to, unless it leaves none.
  private func wantedPlatforms(among all: [String]) -> [String] {
    let named = Set(workspace.settings.platforms.map(\.value))
    let common = all.filter(named.contains)
    return common.isEmpty ? all : common
  }

  /// One target that is looked at: an image for all its platforms, anything else for the platforms that are named.
  ///
  /// - Throws: What keeps its platforms from being known, or from being taken.
  func spread(_ target: Target, in plan: Plan, chosen: [String]) async throws -> PlatformSpread {
    if target.rule.isImage || chosen.isEmpty {
      let spread = try await spread([target.label], in: plan, chosen: chosen)
      if let failure = spread.failures[target.label] { throw failure }
      return spread
    }
    guard [.action, .fetch, .pull].contains(target.rule) else {
      guard chosen == [Workspace.platform] else {
        throw Diagnostic.error(
          "\(target.label) has the rule `\(target.rule.rawValue)`, which is for no other platform than this machine's",
          hints: ["that is \(Workspace.platform)"])
      }
      return PlatformSpread(plan: plan, labels: [target.label])
    }
    var spread = PlatformSpread(plan: plan, labels: [])
    spread.labels = chosen.map { $0 == Workspace.platform ? target.label : target.label.on($0) }
    spread.plan = try adding(
      chosen.filter { $0 != Workspace.platform }.map { (platform: $0, roots: [target.label]) }, to: plan)
    return spread
  }

  private func adding(_ roots: [(platform: String, roots: [Label])], to plan: Plan) throws -> Plan {
    guard !roots.isEmpty else { return plan }
    var diagnostics = DiagnosticList()
    let variants = roots.map { platform, roots in
      PlatformVariant(
        platform: platform, roots: roots, plan: self.plan(of: roots, like: plan, for: platform, &diagnostics))
    }
    let result = plan.adding(variants, diagnostics: &diagnostics)
    if diagnostics.hasErrors { throw diagnostics }
    return result
  }

  private func checkChosen(_ chosen: [String], _ offered: Set<String>, _ spread: PlatformSpread) throws {
    guard spread.failures.isEmpty else { return }
    let known = offered.union([Workspace.platform])
    for platform in chosen where !known.contains(platform) {
      throw Diagnostic.error(
        "none of the targets is for \(platform)",
        hints: ["they are for " + known.sorted().joined(separator: ", ")])
    }
  }

  /// Whether what is known of a target that is up to date covers the platforms that are asked for.
  func coversPlatforms(_ target: BuildState.Target, _ options: BuildOptions) -> Bool {
    options.platforms.isEmpty ? target.isWhole : options.platforms == [Workspace.platform]
  }

  /// What a walk saw, with images that are verified for some of their platforms only marked so.
  func whole(_ seen: [Label: BuildState.Seen], _ plan: Plan) async -> [Label: BuildState.Seen] {
    var result = seen
    var survey = PlatformSurvey(plan, store: store, registries: registries, asks: false)
    for (label, state) in seen where state.isVerified && label.platform == nil {
      guard plan.targets[label]?.rule.isImage == true else { continue }
      let platforms = try? await wantedPlatforms(among: survey.platforms(of: label))
      result[label]?.isWhole =
        platforms?.allSatisfy { $0 == Workspace.platform || seen[label.on($0)]?.isVerified == true } ?? false
    }
    return result
  }

  /// The same packages as their manifests read for another platform.
  private func plan(
    of roots: [Label], like plan: Plan, for platform: String, _ diagnostics: inout DiagnosticList
  ) -> Plan {
    guard plan.packages.values.contains(where: \.dependsOnPlatform) else { return plan }
    return Plan(
      roots: Array(Set(roots.map(\.package))).sorted(), source: PlatformPackages(workspace, platform),
      settings: workspace.settings, diagnostics: &diagnostics)
  }
}

/// Packages as they read for another platform than this machine's.
private final class PlatformPackages: PackageSource {
  private let workspace: Workspace
  private let platform: String

  init(_ workspace: Workspace, _ platform: String) {
    self.workspace = workspace
    self.platform = platform
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    workspace.packages(at: paths, diagnostics: &diagnostics).enumerated().map { index, package in
      guard package?.dependsOnPlatform == true else { return package }
      return workspace.load(paths[index], platform: platform, &diagnostics)
    }
  }
}

extension Build {
  /// Walks a spread: what a label gives in the end is an image for each of its platforms.
  func run(_ spread: PlatformSpread, already: Int = 0, started: () -> Void = {}) async throws -> BuildOutcome {
    var outcome = try await run(spread.labels, already: already) {
      started()
      for (label, error) in spread.failures.sorted(by: { $0.key < $1.key }) {
        if let target = plan.targets[label] { report(error, of: target) }
      }
    }
    for (label, variants) in spread.images where variants != [label] {
      let isBuilt = variants.allSatisfy(outcome.succeeded.contains)
      outcome.outputs[label] = isBuilt ? variants.flatMap { outcome.outputs[$0] ?? [] } : nil
      if isBuilt { outcome.succeeded.insert(label) } else { outcome.succeeded.remove(label) }
    }
    return outcome
  }
}
