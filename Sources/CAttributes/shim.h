// Extended attributes, which Swift's Glibc leaves out.
#include <sys/xattr.h>
