/// The candidate nearest to a misspelt name, or `nil` when none is near.
///
/// Distance is optimal string alignment (Damerau); at most a third of the name's length may differ.
package func didYouMean(_ name: String, among candidates: some Sequence<String>) -> String? {
  let wanted = Array(name.unicodeScalars.prefix(256))
  let limit = max(1, wanted.count / 3)
  var best: (distance: Int, name: String)?
  for candidate in candidates where candidate != name {
    let other = Array(candidate.unicodeScalars.prefix(256))
    guard abs(other.count - wanted.count) <= limit else { continue }
    let distance = alignmentDistance(wanted, other)
    guard distance <= limit else { continue }
    if let found = best, (found.distance, found.name) <= (distance, candidate) { continue }
    best = (distance, candidate)
  }
  return best?.name
}

private func alignmentDistance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
  var twoBack: [Int] = []
  var previous = Array(0...b.count)
  for i in a.indices {
    var current = [i + 1]
    current.reserveCapacity(b.count + 1)
    for j in b.indices {
      var value = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { value = min(value, twoBack[j - 1] + 1) }
      current.append(value)
    }
    twoBack = previous
    previous = current
  }
  return previous[b.count]
}
