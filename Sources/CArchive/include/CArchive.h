#include <archive.h>
#include <archive_entry.h>
// Swift's Glibc module leaves this header out; whiteouts of layers are extended attributes.
#include <sys/xattr.h>
