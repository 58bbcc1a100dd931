/// What an execution takes of the machine, or what the machine has.
package struct Resources: Hashable, Sendable {
  /// Thousandths of a core.
  package var cpu: Int
  /// Bytes.
  package var memory: Int

  package init(cpu: Int, memory: Int) {
    self.cpu = max(0, cpu)
    self.memory = max(0, memory)
  }

  package static let none = Resources(cpu: 0, memory: 0)
  package static let unlimited = Resources(cpu: .max, memory: .max)

  /// Whether this fits into what `capacity` has left beside `used`; `used` is at most `capacity`.
  func fits(beside used: Resources, in capacity: Resources) -> Bool {
    cpu <= capacity.cpu - used.cpu && memory <= capacity.memory - used.memory
  }

  static func += (a: inout Resources, b: Resources) {
    a.cpu += b.cpu
    a.memory += b.memory
  }

  static func -= (a: inout Resources, b: Resources) {
    a.cpu -= b.cpu
    a.memory -= b.memory
  }
}
