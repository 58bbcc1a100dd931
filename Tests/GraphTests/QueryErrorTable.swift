extension QueryErrorTests {
  /// From functions' arguments on; apart only because a file has its limit.
  static let moreTable: [(query: String, rendered: String)] = [
    (
      "attr(size, small)",
      #"""
      query:1:17: error: `attr` takes another argument
      1 | attr(size, small)
        |                 ^
      hint: usage: `attr(NAME, REGEX, EXPR)`

      """#
    ),
    (
      "filter('x{2,1}', //base)",
      #"""
      query:1:10: error: a repetition counts upwards, to at most 1000
      1 | filter('x{2,1}', //base)
        |          ^^^^^

      """#
    ),
    (
      "filter('(?=a)', //base)",
      #"""
      query:1:9: error: only `(?:` groups, and `(?i)` at the very start, are known
      1 | filter('(?=a)', //base)
        |         ^^^

      """#
    ),
    (
      "owner()",
      #"""
      query:1:7: error: expected a file's path, found `)`
      1 | owner()
        |       ^

      """#
    ),
    (
      "owner(../x)",
      #"""
      query:1:7: error: `../x` is no path below the current folder
      1 | owner(../x)
        |       ^^^^
      hint: `//` in front begins at the workspace's root

      """#
    ),
    (
      "owner('')",
      #"""
      query:1:7: error: a file's path is missing
      1 | owner('')
        |       ^^

      """#
    ),
    (
      "owner(/etc/passwd)",
      #"""
      query:1:7: error: `/etc/passwd` is no path below the current folder
      1 | owner(/etc/passwd)
        |       ^^^^^^^^^^^
      hint: `//` in front begins at the workspace's root

      """#
    ),
    (
      "tests()",
      #"""
      query:1:7: error: expected an expression, found `)`
      1 | tests()
        |       ^

      """#
    ),
    (
      "set",
      #"""
      query:1:4: error: expected `(` after `set`, found the end of the query
      1 | set
        |    ^

      """#
    ),
    (
      "set(//base, //lib:lib)",
      #"""
      query:1:11: error: the members of a set are separated by blanks
      1 | set(//base, //lib:lib)
        |           ^

      """#
    ),
    (
      "set((//base))",
      #"""
      query:1:5: error: expected `)`, found `(`
      1 | set((//base))
        |     ^

      """#
    ),
    (
      "set(//base",
      #"""
      query:1:4: error: this parenthesis is never closed
      1 | set(//base
        |    ^

      """#
    ),
    (
      "let",
      #"""
      query:1:4: error: expected a variable's name after `let`, found the end of the query
      1 | let
        |    ^

      """#
    ),
    (
      "let 1x = //base in $1x",
      #"""
      query:1:5: error: expected a variable's name after `let`, found `1x`
      1 | let 1x = //base in $1x
        |     ^^

      """#
    ),
    (
      "let x //base in $x",
      #"""
      query:1:7: error: expected `=` after the variable's name, found `//base`
      1 | let x //base in $x
        |       ^^^^^^

      """#
    ),
    (
      "let x = //base",
      #"""
      query:1:15: error: expected `in` after the variable's value, found the end of the query
      1 | let x = //base
        |               ^

      """#
    ),
    (
      "let x = //base in",
      #"""
      query:1:18: error: expected an expression, found the end of the query
      1 | let x = //base in
        |                  ^

      """#
    ),
    (
      "let in = //base in $in",
      #"""
      query:1:5: error: expected a variable's name after `let`, found `in`
      1 | let in = //base in $in
        |     ^^

      """#
    ),
    (
      "$x",
      #"""
      query:1:1: error: `$x` is bound by no `let`
      1 | $x
        | ^^

      """#
    ),
    (
      "let value = //base in $valeu",
      #"""
      query:1:23: error: `$valeu` is bound by no `let`
      1 | let value = //base in $valeu
        |                       ^^^^^^
      hint: did you mean `$value`?

      """#
    ),
    (
      "(let x = //base in $x) + $x",
      #"""
      query:1:26: error: `$x` is bound by no `let`
      1 | (let x = //base in $x) + $x
        |                          ^^

      """#
    ),
    (
      "in",
      #"""
      query:1:1: error: expected an expression, found `in`
      1 | in
        | ^^

      """#
    ),
    (
      "union",
      #"""
      query:1:1: error: expected an expression, found `union`
      1 | union
        | ^^^^^

      """#
    ),
    (
      "//a:b:c",
      #"""
      query:1:6: error: `:` cannot stand in the name of a target
      1 | //a:b:c
        |      ^

      """#
    ),
    (
      "//bse",
      #"""
      query:1:1: error: unknown package `//bse`
      1 | //bse
        | ^^^^^
      hint: did you mean `//base`?

      """#
    ),
    (
      "//src/a:units",
      #"""
      query:1:1: error: unknown target `//src/a:units`
      1 | //src/a:units
        | ^^^^^^^^^^^^^
      hint: did you mean `//src/a:unit`?

      """#
    ),
    (
      "//lib",
      #"""
      query:1:1: error: `//lib` has no default target
      1 | //lib
        | ^^^^^
      note: its targets are `lib` and `unit`
      hint: name a target, or `//lib:all`; `default:` in its manifest chooses one

      """#
    ),
    (
      "//nowhere/...",
      #"""
      query:1:1: error: no packages below `//nowhere`
      1 | //nowhere/...
        | ^^^^^^^^^^^^^

      """#
    ),
    (
      "//base + //src/a:imag - //src",
      #"""
      query:1:10: error: unknown target `//src/a:imag`
      1 | //base + //src/a:imag - //src
        |          ^^^^^^^^^^^^
      hint: did you mean `//src/a:image`?
      query:1:25: error: `//src` is no package: the folder has no manifest
      1 | //base + //src/a:imag - //src
        |                         ^^^^^
      note: 2 packages are below it
      hint: `//src/...` selects what lies below it

      """#
    ),
    (
      "deps(//base,\n  //src/a:unitt)",
      #"""
      query:2:3: error: a depth is a whole number: `//src/a:unitt`
      2 |   //src/a:unitt)
        |   ^^^^^^^^^^^^^

      """#
    ),
    (
      "deps(//src/a:unitt +\n  //gone:x)",
      #"""
      query:1:6: error: unknown target `//src/a:unitt`
      1 | deps(//src/a:unitt +
        |      ^^^^^^^^^^^^^
      hint: did you mean `//src/a:unit`?
      query:2:3: error: unknown package `//gone`
      2 |   //gone:x)
        |   ^^^^^^^^

      """#
    ),
    (
      "'-//base'",
      #"""
      query:1:2: error: a query takes targets away with `except`, not by a pattern
      1 | '-//base'
        |  ^

      """#
    ),
    (
      "'//a b :c'",
      #"""
      query:1:7: error: a folder's name does not begin or end with a space
      1 | '//a b :c'
        |       ^

      """#
    ),
    (
      "//lib:lib = //base",
      #"""
      query:1:11: error: `=` cannot follow a whole expression
      1 | //lib:lib = //base
        |           ^

      """#
    ),
    (
      "deps(//base, 99999999999999999999)",
      #"""
      query:1:14: error: a depth is a whole number: `99999999999999999999`
      1 | deps(//base, 99999999999999999999)
        |              ^^^^^^^^^^^^^^^^^^^^

      """#
    ),
  ]
}
