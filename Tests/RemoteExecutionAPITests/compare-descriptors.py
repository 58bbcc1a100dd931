"""Holds a descriptor set against the full descriptors in BuildStream's wheel: prints every difference.

usage: compare-descriptors.py OURS.pb FOLDER

OURS.pb is what `protoc --descriptor_set_out --include_imports` wrote; FOLDER holds the wheel's `*_pb2.py` files.
Whatever is in ours must be in theirs: messages, fields (number, type, label), enums (name, number), methods.
The exit status is 1 when anything differs, or when there was nothing to compare.
"""
import ast
import pathlib
import sys

from google.protobuf import descriptor_pb2

# The names of packages that Slipway has files of its own for.
PACKAGES = ("build.bazel.remote.execution.v2", "build.bazel.semver", "google.rpc", "google.bytestream",
            "google.longrunning")


def theirs(folder):
  """The file descriptors that generated Python modules carry, which are not run."""
  for path in sorted(pathlib.Path(folder).rglob("*_pb2.py")):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "AddSerializedFile":
        file = descriptor_pb2.FileDescriptorProto()
        file.ParseFromString(ast.literal_eval(node.args[0]))
        yield file


def describe(files):
  """Everything named in files, by its full name."""
  found = {}

  def enum(prefix, value):
    for item in value.value:
      found[f"enum {prefix}.{value.name} {item.name}"] = item.number

  def message(prefix, value):
    name = f"{prefix}.{value.name}"
    found[f"message {name}"] = "message"
    for field in value.field:
      oneof = value.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
      found[f"field {name}.{field.name}"] = (field.number, field.type, field.label, field.type_name, oneof)
    for inner in value.nested_type:
      message(name, inner)
    for inner in value.enum_type:
      enum(name, inner)

  for file in files:
    if file.package not in PACKAGES:
      continue
    prefix = "." + file.package
    for value in file.message_type:
      message(prefix, value)
    for value in file.enum_type:
      enum(prefix, value)
    for service in file.service:
      for method in service.method:
        found[f"method {prefix}.{service.name}.{method.name}"] = (
          method.input_type, method.output_type, method.client_streaming, method.server_streaming)
  return found


def main():
  descriptors = descriptor_pb2.FileDescriptorSet()
  descriptors.ParseFromString(pathlib.Path(sys.argv[1]).read_bytes())
  ours, full = describe(descriptors.file), describe(theirs(sys.argv[2]))
  differences = 0
  for name, value in sorted(ours.items()):
    if full.get(name) != value:
      differences += 1
      print(f"{name}: ours is {value}, theirs {full.get(name)}")
  print(f"compared {len(ours)} of {len(full)}, {differences} differ")
  return 0 if ours and not differences else 1


sys.exit(main())
