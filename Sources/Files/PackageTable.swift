/// Which folders are packages, and whose each file is.
struct PackageTable {
  private(set) var packages: [WorkspacePath] = []
  /// The entries below each package, nested packages' among them.
  private(set) var ranges: [Range<Int>] = []
  /// The position in `packages` of each entry's package; -1 for none.
  private(set) var owners: [Int32] = []

  private static let manifests = ["metadata.yaml", "targets.yaml"].map { Array($0.utf8) }

  init() {}

  init(_ index: TreeIndex) {
    var folders: [PathReference] = []
    for entry in index.entries where entry.mode != .submodule {
      let path = index.arena.bytes(entry.path)
      for name in Self.manifests where path.count >= name.count && path.suffix(name.count).elementsEqual(name) {
        if path.count == name.count {
          folders.append(PathReference(offset: entry.path.offset, length: 0))
        } else if path[path.count - name.count - 1] == UInt8(ascii: "/") {
          let length = entry.path.length - UInt32(name.count) - 1
          folders.append(PathReference(offset: entry.path.offset, length: length))
        }
      }
    }
    folders.sort { TreeIndex.compare(index.arena.bytes($0), index.arena.bytes($1)) < 0 }
    owners = Array(repeating: -1, count: index.entries.count)
    for folder in folders {
      let path = WorkspacePath(unchecked: index.arena.string(folder))
      if path == packages.last { continue }
      let range = index.entries(below: index.arena.bytes(folder))
      // A parent sorts before what it holds, so the deepest package is written last.
      for position in range { owners[position] = Int32(packages.count) }
      packages.append(path)
      ranges.append(range)
    }
  }

  func position(of package: WorkspacePath) -> Int? {
    let position = packages.partitioningIndex { $0 >= package }
    return position < packages.count && packages[position] == package ? position : nil
  }
}
