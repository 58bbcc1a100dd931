import Diagnostics
import Glibc

/// Runs libarchive in the C.UTF-8 locale, of this thread only.
///
/// libarchive converts names through the locale; in plain C it cannot read or write a name beyond ASCII. The user's
/// locale must not decide bytes, and changing the process's would race with other threads. glibc has had C.UTF-8 built
/// in since 2.35.
func inTarLocale<Value>(_ body: () throws -> Value) throws -> Value {
  guard let locale = newlocale(1 << LC_CTYPE, "C.UTF-8", nil) else {
    throw Diagnostic.error("the C library has no locale `C.UTF-8`", cause: .environment)
  }
  let previous = uselocale(locale)
  defer {
    uselocale(previous)
    freelocale(locale)
  }
  return try body()
}
