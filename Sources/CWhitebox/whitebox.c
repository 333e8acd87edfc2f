// The header is all of this module: what it declares is implemented in Swift, in `Interface`.

#include "whitebox.h"
