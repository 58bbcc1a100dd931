import Diagnostics

/// The text of the diagnostic that the body throws; `nil` when it throws none.
package func diagnosed(_ body: () async throws -> Void) async -> String? {
  do {
    try await body()
    return nil
  } catch let diagnostic as Diagnostic {
    return diagnostic.rendered
  } catch {
    return "not a diagnostic: \(error)"
  }
}
