// What modules in C share, and what of the C library Swift does not see.
#ifndef WHITEBOX_CSYSTEM_H
#define WHITEBOX_CSYSTEM_H

#include <stdbool.h>
#include <stddef.h>

// A function of a library, and where its address goes.
typedef struct {
    const char *name;
    void **address;
} wb_function;

// Opens a library and looks up its functions, all of which must be there. If not, `reason` says why. Never closed: what it left running may be in it.
bool wb_open_library(const char *library, const wb_function *functions, size_t count, char *reason, size_t size);

// Waits until all that was written to the file system of an open file is on its disk (Linux' syncfs).
// Returns the error's number, 0 if there is none.
int wb_sync_file_system(int descriptor);

#endif
